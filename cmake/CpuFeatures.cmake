# retort_cpu_features(<variable>): the instruction sets that -march=${RETORT_ARCH} enables, each as
# RETORT_CHECK("name") with its name for __builtin_cpu_supports. Lists only sets that compilers use in
# ordinary code: not SGX or PKU, for example, which virtual machines hide. Lists only names that both g++ 12
# and clang 16 accept. This excludes f16c, lzcnt and movbe, but all processors with avx2 have them.
function(retort_cpu_features variable)
  separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS}")
  execute_process(
    COMMAND ${CMAKE_CXX_COMPILER} ${flags} -march=${RETORT_ARCH} -dM -E -x c++ /dev/null
    OUTPUT_VARIABLE macros ERROR_VARIABLE error RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "RETORT_ARCH=${RETORT_ARCH}: the compiler does not take it as -march\n${error}")
  endif()
  set(checks "")
  foreach(macro SSE3 SSSE3 SSE4_1 SSE4_2 POPCNT AVX AVX2 FMA FMA4 XOP BMI BMI2 GFNI AVX512F AVX512VL AVX512BW
          AVX512DQ
                AVX512CD AVX512IFMA AVX512VBMI AVX512VBMI2 AVX512VNNI AVX512BITALG AVX512VPOPCNTDQ AVX512BF16)
    if(macros MATCHES "#define __${macro}__ 1")
      string(TOLOWER "${macro}" name)
      string(REPLACE "sse4_" "sse4." name "${name}")
      string(APPEND checks "RETORT_CHECK(\"${name}\")")
    endif()
  endforeach()
  set(${variable} "${checks}" PARENT_SCOPE)
endfunction()
