# What other programs build on, installed so that find_package(millrace) gives them
#
#   millrace::client   #include <millrace/client.h>
#   millrace::worker   #include <millrace/worker.h>
#
# Headers lie in include/millrace, and those of common/ that they need in include/millrace/common.
# Sources here write "common/types.h"; in the installed copy this becomes <millrace/common/types.h>,
# so that one include folder is enough and nobody's own common/ can be meant.

include_guard(GLOBAL)
include(CMakePackageConfigHelpers)

set(sdk_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/millrace")
set(sdk_headers
  producer/include/millrace/client.h
  worker/include/millrace/handler.h
  worker/include/millrace/worker.h
  common/errors.h
  common/job_request.h
  common/kind_options.h
  common/limits.h
  common/types.h)

foreach(header IN LISTS sdk_headers)
  string(REGEX REPLACE "^[a-z]+/include/millrace/" "" installed "${header}")
  file(READ "${PROJECT_SOURCE_DIR}/${header}" text)
  string(REGEX REPLACE "#include \"(common/[a-z_/]+\\.h)\"" "#include <millrace/\\1>" text "${text}")
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/sdk/${installed}" CONTENT "${text}" @ONLY)
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/${header}")
  get_filename_component(folder "${installed}" DIRECTORY)
  install(FILES "${PROJECT_BINARY_DIR}/sdk/${installed}"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/millrace/${folder}")
endforeach()

set_target_properties(mr_common PROPERTIES EXPORT_NAME common OUTPUT_NAME millrace_common)
set_target_properties(mr_producer PROPERTIES EXPORT_NAME client OUTPUT_NAME millrace_client)
set_target_properties(mr_worker PROPERTIES EXPORT_NAME worker OUTPUT_NAME millrace_worker)
foreach(target mr_common mr_producer mr_worker)
  target_compile_features(${target} PUBLIC cxx_std_20)
endforeach()

install(TARGETS mr_common mr_producer mr_worker
  EXPORT millraceTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT millraceTargets NAMESPACE millrace:: DESTINATION "${sdk_package_dir}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/millraceConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/sdk/millraceConfig.cmake"
  INSTALL_DESTINATION "${sdk_package_dir}")
# Until 1.0 a minor version may change the interface.
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/sdk/millraceConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/sdk/millraceConfig.cmake"
  "${PROJECT_BINARY_DIR}/sdk/millraceConfigVersion.cmake"
  DESTINATION "${sdk_package_dir}")
