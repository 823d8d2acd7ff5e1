# The four functions that every CMakeLists.txt below this one uses:
#
#   mr_library(NAME source... [DEPENDS target...] [PRIVATE_DEPENDS target...])
#       static library, target mr_NAME. DEPENDS are public, PRIVATE_DEPENDS do not reach its users.
#   mr_program(NAME source... [DEPENDS target...])
#       program called NAME in bin/, installed. mr_program(millrace-broker main.cpp DEPENDS mr_broker)
#   mr_test(NAME LABEL label source... [DEPENDS target...] [TIMEOUT seconds] [SERIAL] [OWN_MAIN]
#           [EXTRA_LABELS label...])
#       GoogleTest program; each TEST becomes one ctest with that label. SERIAL: nothing runs beside
#       it. OWN_MAIN: a source has its own main().
#   mr_script_test(NAME LABEL label COMMAND command... [TIMEOUT seconds] [SERIAL] [PROCESSORS n]
#                  [EXTRA_LABELS label...])
#       one ctest that runs a command from the repository root; exit code 77 counts as skipped.
#
# Includes are written from the repository root: #include "broker/engine/engine.h".

include_guard(GLOBAL)
include(CheckPIESupported)
include(GoogleTest)

check_pie_supported(LANGUAGES CXX)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# A compiler cache makes the second build quick; without one everything works the same. Paths are
# kept relative to this folder, so that a build of another copy of it finds the same entries.
find_program(MILLRACE_CCACHE ccache)
mark_as_advanced(MILLRACE_CCACHE)
if(MILLRACE_CCACHE)
  foreach(language C CXX)
    if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
        "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${MILLRACE_CCACHE}")
    endif()
  endforeach()
endif()

configure_file("${PROJECT_SOURCE_DIR}/cmake/version.h.in"
  "${PROJECT_BINARY_DIR}/generated/millrace_version.h" @ONLY)

# What all our code is compiled with. Includes of imported targets are SYSTEM by CMake's rule, so
# warnings inside third-party headers stay silent.
add_library(mr_options INTERFACE)
target_compile_features(mr_options INTERFACE cxx_std_20)
target_include_directories(mr_options INTERFACE
  "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/generated")
target_link_libraries(mr_options INTERFACE Threads::Threads)

# -Wsign-conversion is left out: sizes and offsets cross between signed and unsigned at every border
# to a C library, and each cast that silences it hides more than it shows.
target_compile_options(mr_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2 -Wundef)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(mr_options INTERFACE -Wduplicated-cond -Wlogical-op)
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # g++ 12 reports these inside libstdc++'s own inlined code, with optimisation or a sanitizer.
    target_compile_options(mr_options INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
  endif()
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(mr_options INTERFACE -Wthread-safety -Wthread-safety-beta)
endif()
if(MILLRACE_WERROR)
  target_compile_options(mr_options INTERFACE -Werror)
endif()

if(MILLRACE_INSTRUMENTED)
  target_compile_definitions(mr_options INTERFACE MILLRACE_INSTRUMENTED)
endif()

# __FILE__ and debug info say common/types.h, with or without ccache, and nothing about the machine.
file(RELATIVE_PATH mr_up "${PROJECT_BINARY_DIR}" "${PROJECT_SOURCE_DIR}")
target_compile_options(mr_options INTERFACE
  "-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=" "-ffile-prefix-map=${mr_up}=")

if(MILLRACE_SANITIZE STREQUAL "address")
  set(mr_sanitize -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(MILLRACE_SANITIZE STREQUAL "thread")
  set(mr_sanitize -fsanitize=thread)
elseif(NOT MILLRACE_SANITIZE STREQUAL "")
  message(FATAL_ERROR "MILLRACE_SANITIZE is `${MILLRACE_SANITIZE}`: use address, thread or nothing")
endif()
if(mr_sanitize)
  target_compile_options(mr_options INTERFACE ${mr_sanitize} -fno-omit-frame-pointer)
  target_link_options(mr_options INTERFACE ${mr_sanitize})
else()
  # Hardening. Fortify needs the optimiser and does not mix with the sanitizers.
  set(mr_optimised "$<NOT:$<CONFIG:Debug>>")
  target_compile_definitions(mr_options INTERFACE _GLIBCXX_ASSERTIONS
    "$<${mr_optimised}:_FORTIFY_SOURCE=2>")
  target_compile_options(mr_options INTERFACE -fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(mr_options INTERFACE -fcf-protection)
  endif()
  target_link_options(mr_options INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()

function(mr_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPENDS;PRIVATE_DEPENDS")
  add_library(mr_${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  set_target_properties(mr_${name} PROPERTIES LINKER_LANGUAGE CXX)
  # How we compile is nothing to those who link an installed copy; threads they need as we do.
  target_link_libraries(mr_${name}
    PUBLIC "$<BUILD_INTERFACE:mr_options>" Threads::Threads ${arg_DEPENDS} PRIVATE ${arg_PRIVATE_DEPENDS})
endfunction()

function(mr_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPENDS")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mr_options ${arg_DEPENDS})
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endfunction()

# What a test needs from its surroundings, in one place for both kinds of tests.
set(mr_test_environment
  "MILLRACE_BIN_DIR=${PROJECT_BINARY_DIR}/bin"
  "MILLRACE_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
  "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
  "UBSAN_OPTIONS=print_stacktrace=1"
  "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/tsan.supp:second_deadlock_stack=1:halt_on_error=1")

function(mr_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL;OWN_MAIN" "LABEL;TIMEOUT" "DEPENDS;EXTRA_LABELS")
  if(NOT MILLRACE_BUILD_TESTS)
    return()
  endif()
  if(NOT arg_LABEL)
    message(FATAL_ERROR "mr_test(${name}): LABEL is missing")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mr_options ${arg_DEPENDS} GTest::gmock GTest::gtest)
  if(NOT arg_OWN_MAIN)
    target_link_libraries(${name} PRIVATE GTest::gmock_main)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin/tests")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60)
  if("${arg_LABEL};${arg_EXTRA_LABELS}" MATCHES "(^|;)(unit|contract|threads)(;|$)")
    add_dependencies(sanitized ${name})
  endif()
  if("threads" IN_LIST arg_EXTRA_LABELS)
    add_dependencies(threaded ${name})
  endif()
  # gtest_discover_tests flattens lists in its PROPERTIES, so lists are set afterwards, when ctest
  # has read the names of the tests into ${name}_TESTS.
  set(properties "${CMAKE_CURRENT_BINARY_DIR}/${name}_properties.cmake")
  set(labels ${arg_LABEL} ${arg_EXTRA_LABELS})
  string(CONCAT text
    "if(${name}_TESTS)\n"
    "  set_tests_properties(\${${name}_TESTS} PROPERTIES\n"
    "    LABELS [==[${labels}]==]\n"
    "    TIMEOUT ${arg_TIMEOUT}\n"
    "    RUN_SERIAL ${arg_SERIAL}\n"
    "    ENVIRONMENT [==[${mr_test_environment}]==])\n"
    "endif()\n")
  file(CONFIGURE OUTPUT "${properties}" CONTENT "${text}" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${properties}")
endfunction()

function(mr_script_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "LABEL;TIMEOUT;PROCESSORS" "COMMAND;EXTRA_LABELS")
  if(NOT MILLRACE_BUILD_TESTS)
    return()
  endif()
  if(NOT arg_LABEL OR NOT arg_COMMAND)
    message(FATAL_ERROR "mr_script_test(${name}): LABEL or COMMAND is missing")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  set_tests_properties(${name} PROPERTIES
    LABELS "${arg_LABEL};${arg_EXTRA_LABELS}" TIMEOUT ${arg_TIMEOUT} SKIP_RETURN_CODE 77
    RUN_SERIAL ${arg_SERIAL} PROCESSORS ${arg_PROCESSORS}
    ENVIRONMENT "${mr_test_environment}")
endfunction()
