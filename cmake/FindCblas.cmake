# Finds a BLAS with the C interface and defines Cblas::Cblas. Retort divides products among its own threads,
# which call the library at the same time. OpenBLAS's threaded builds support that. The serial build does not
# and needs a lock, so it is searched last.
find_path(Cblas_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas-pthread openblas openblas-openmp openblas-serial)
find_library(Cblas_LIBRARY NAMES openblas
             PATH_SUFFIXES openblas-pthread openblas openblas-openmp openblas-serial)
if(NOT Cblas_LIBRARY)
  find_library(Cblas_LIBRARY NAMES cblas blas)
endif()
mark_as_advanced(Cblas_INCLUDE_DIR Cblas_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  Cblas REQUIRED_VARS Cblas_LIBRARY Cblas_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install OpenBLAS (Debian: libopenblas-pthread-dev)")

if(Cblas_FOUND AND NOT TARGET Cblas::Cblas)
  add_library(Cblas::Cblas UNKNOWN IMPORTED)
  set_target_properties(Cblas::Cblas PROPERTIES IMPORTED_LOCATION "${Cblas_LIBRARY}"
                                                INTERFACE_INCLUDE_DIRECTORIES "${Cblas_INCLUDE_DIR}")
endif()
