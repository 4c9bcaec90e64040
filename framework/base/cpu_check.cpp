// Ends the program with a clear message if the processor lacks an instruction set that the library was
// compiled for; otherwise it would die of SIGILL. The build compiles this file for the baseline processor and
// passes RETORT_ARCH and RETORT_CPU_FEATURES: one RETORT_CHECK("feature") per set in use. This file must not
// use inline functions of the C++ library: the linker could take their bodies from a file compiled for a
// newer processor.
#include <stdio.h>
#include <stdlib.h>

/// A symbol that the linker is told to resolve, so that a static library also links the check.
extern "C" {
[[gnu::visibility("default")]] extern const char retort_cpu_is_checked;
const char retort_cpu_is_checked = 1;
}

#if defined(__x86_64__) || defined(__i386__)

namespace {

// The lowest priority that programs may use: runs before static initialisers without a priority.
[[gnu::constructor(101)]] void check_cpu() {
  __builtin_cpu_init();
  const char* missing = nullptr;
#define RETORT_CHECK(feature) \
  if (missing == nullptr && !__builtin_cpu_supports(feature)) missing = feature;
  RETORT_CPU_FEATURES
#undef RETORT_CHECK
  if (missing == nullptr) return;
  fprintf(stderr,
          "retort: this processor lacks %s, which the library was built to use (RETORT_ARCH=%s); build it on "
          "this machine, or with -DRETORT_ARCH=x86-64\n",
          missing, RETORT_ARCH);
  _Exit(EXIT_FAILURE);
}

}  // namespace

#endif
