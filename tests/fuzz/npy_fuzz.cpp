// The .npy reader.
#include "retort/framework/io/npy.hpp"

#include "fuzz.hpp"

using namespace retort;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::run(
      fuzz::memory_bound(size), [&] { return parse_npy(fuzz::bytes_of(data, size), fuzz::input_name); },
      [](const Tensor& loaded) {
        const std::string path = fuzz::scratch_file();
        save_npy(path, loaded);
        if (!fuzz::same_bits(load_npy(path), loaded)) fuzz::fail("saved and loaded again, it differs");
      });
  return 0;
}
