# Finds a BLAS with the C interface and defines Cblas::Cblas. Retort brings its own threads, so the serial build
# of OpenBLAS goes before the threaded ones.
find_path(Cblas_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas-serial openblas openblas-pthread openblas-openmp)
find_library(Cblas_LIBRARY NAMES openblas PATH_SUFFIXES openblas-serial openblas openblas-pthread openblas-openmp)
if(NOT Cblas_LIBRARY)
  find_library(Cblas_LIBRARY NAMES cblas blas)
endif()
mark_as_advanced(Cblas_INCLUDE_DIR Cblas_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  Cblas REQUIRED_VARS Cblas_LIBRARY Cblas_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install OpenBLAS (Debian: libopenblas-serial-dev)")

if(Cblas_FOUND AND NOT TARGET Cblas::Cblas)
  add_library(Cblas::Cblas UNKNOWN IMPORTED)
  set_target_properties(Cblas::Cblas PROPERTIES IMPORTED_LOCATION "${Cblas_LIBRARY}"
                                                INTERFACE_INCLUDE_DIRECTORIES "${Cblas_INCLUDE_DIR}")
endif()
