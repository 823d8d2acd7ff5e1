# Everything millrace links, found once. All of it comes as Debian 12 packages (deps/build.txt).
#
#   package           target to name in DEPENDS
#   Threads           Threads::Threads
#   libzmq, cppzmq    cppzmq
#   msgpack-cxx       msgpackc-cxx
#   SQLite            SQLite::SQLite3
#   libcurl           CURL::libcurl
#   primesieve        primesieve::primesieve
#   CLI11             CLI11::CLI11
#   fmt, spdlog       fmt::fmt, spdlog::spdlog
#   nlohmann-json     nlohmann_json::nlohmann_json
#   toml++            tomlplusplus::tomlplusplus
#   tl::expected      tl::expected
#   xxHash            mr_xxhash
#   mimalloc          mr_malloc: malloc and new of a whole program; nothing under a sanitizer
#   GoogleTest        GTest::gtest, GTest::gmock (mr_test links them)
#
# Tests written in Python run as ${MILLRACE_PYTHON}.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(cppzmq REQUIRED)
find_package(msgpack REQUIRED)
find_package(SQLite3 3.40 REQUIRED)
find_package(CURL REQUIRED)
find_package(primesieve REQUIRED)
find_package(CLI11 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(tl-expected REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
add_library(mr_xxhash INTERFACE)
target_link_libraries(mr_xxhash INTERFACE PkgConfig::xxhash)
find_package(mimalloc REQUIRED)
add_library(mr_malloc INTERFACE)
if(NOT MILLRACE_SANITIZE)
  target_link_libraries(mr_malloc INTERFACE mimalloc)
endif()

if(MILLRACE_BUILD_TESTS)
  find_package(GTest REQUIRED)
  # Debian's own Python has the modules of deps/test.txt; one earlier in PATH may not.
  find_program(MILLRACE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
  find_program(MILLRACE_PYTHON python3 REQUIRED)
endif()
