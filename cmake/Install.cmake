# Installs headers, library, retortConfig.cmake and retort.pc. All paths are relative to the prefix, which may
# be moved.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(
  DIRECTORY framework losses optim
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/retort"
  FILES_MATCHING
  PATTERN "*.hpp"
  PATTERN "*_impl.hpp" EXCLUDE)
install(FILES retort.hpp DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/retort")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(TARGETS retort EXPORT retortTargets)

set(retort_uses_mpi OFF)
if(RETORT_MPI AND MPI_CXX_FOUND)
  set(retort_uses_mpi ON)
endif()

set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/retort")
install(EXPORT retortTargets NAMESPACE retort:: DESTINATION "${config_dir}")
# The configured files fit only an installed package. They are kept where neither find_package nor pkg-config
# looks for them if it is given the build folder.
set(to_install "${PROJECT_BINARY_DIR}/to_install")
file(REMOVE "${PROJECT_BINARY_DIR}/retort.pc" "${PROJECT_BINARY_DIR}/retortConfig.cmake"
     "${PROJECT_BINARY_DIR}/retortConfigVersion.cmake")  # of earlier versions
configure_package_config_file(cmake/retortConfig.cmake.in "${to_install}/retortConfig.cmake"
                              INSTALL_DESTINATION "${config_dir}")
write_basic_package_version_file("${to_install}/retortConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${to_install}/retortConfig.cmake" "${to_install}/retortConfigVersion.cmake" cmake/FindCblas.cmake
        DESTINATION "${config_dir}")

# The dependencies of a static library are public in its pkg-config file; otherwise programs could not link it
# without `--static`. Those of a shared library are private.
file(RELATIVE_PATH prefix_from_pc "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH libdir_from_prefix "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH includedir_from_prefix "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
cmake_path(GET Cblas_LIBRARY STEM cblas_name)
string(REGEX REPLACE "^lib" "" cblas_name "${cblas_name}")
set(needed "-l${cblas_name} -pthread")
if(retort_uses_mpi)
  # The library of the C interface. The C++ compiler wrapper also names the library of MPI 2's C++ classes.
  foreach(library IN LISTS MPI_CXX_LIBRARIES)
    cmake_path(GET library STEM mpi_name)
    if(NOT mpi_name MATCHES "_cxx$|mpichcxx")
      cmake_path(GET library PARENT_PATH mpi_folder)
      string(REGEX REPLACE "^lib" "" mpi_name "${mpi_name}")
      string(APPEND needed " -L${mpi_folder} -l${mpi_name}")
    endif()
  endforeach()
endif()
if(BUILD_SHARED_LIBS)
  set(pc_requires_private zlib)
  set(pc_libs_private "${needed}")
else()
  set(pc_requires zlib)
  set(pc_libs "${needed} ${retort_link_options}")
endif()
configure_file(cmake/retort.pc.in "${to_install}/retort.pc" @ONLY)
install(FILES "${to_install}/retort.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
