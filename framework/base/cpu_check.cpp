// Ends the program with one clear line where the processor lacks an instruction set that the library was
// compiled for; without this it would die of SIGILL somewhere. The build compiles this file for the baseline
// processor and passes RETORT_ARCH and RETORT_CPU_FEATURES, one RETORT_CHECK("feature") for each set in use.
// Nothing inline from the C++ library may stand here: the linker could take its body from a file compiled for
// more.
#include <stdio.h>
#include <stdlib.h>

/// A name for the linker to ask for, so that the check is taken from a static library too.
extern "C" {
[[gnu::visibility("default")]] extern const char retort_cpu_is_checked;
const char retort_cpu_is_checked = 1;
}

#if defined(__x86_64__) || defined(__i386__)

namespace {

// The lowest priority that programs may use: before every static initialiser that gives none.
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
