# Read by ctest: one test for each Boost.Test suite that the program lists.
execute_process(
  COMMAND "${program}" --list_content
  OUTPUT_VARIABLE content
  ERROR_VARIABLE content
  RESULT_VARIABLE failed)
string(REGEX MATCHALL "(^|\n)[A-Za-z0-9_]+" suites "${content}")
if(failed OR NOT suites)
  add_test(retort_tests "${program}")  # not built, or broken: running it shows which
endif()
foreach(suite IN LISTS suites)
  string(STRIP "${suite}" suite)
  add_test("${suite}" "${program}" "--run_test=${suite}" --color_output=no)
  set_tests_properties("${suite}" PROPERTIES LABELS unit TIMEOUT 1200)
  if(suite MATCHES "^(checkpoint|determinism|kernels_gemm|example_distill_faults)$")
    set_tests_properties("${suite}" PROPERTIES COST 1000)  # the longest with sanitizers begin first
  endif()
endforeach()
