// The .npz reader.
#include "retort/framework/io/npz.hpp"

#include "fuzz.hpp"

using namespace retort;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::run(
      // A deflated byte may state a thousand, and a bool takes eight bytes as int64.
      fuzz::memory_bound(4 * size), [&] { return parse_npz(fuzz::bytes_of(data, size), fuzz::input_name); },
      [](const StateDict& loaded) {
        const std::string path = fuzz::scratch_file();
        for (const auto& [name, tensor] : loaded)
          if (name.empty() || name.find('\0') != std::string::npos || tensor.size() > 1'000'000) return;
        for (const bool compress : {false, true}) {
          save_npz(path, loaded, {.compress = compress});
          const StateDict again = load_npz(path);
          if (again.size() != loaded.size()) fuzz::fail("saved and loaded again, entries differ");
          for (const auto& [name, tensor] : loaded)
            if (!fuzz::same_bits(again.at(name), tensor)) fuzz::fail("saved and loaded again, it differs");
        }
      });
  return 0;
}
