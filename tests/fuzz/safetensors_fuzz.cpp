// The safetensors reader.
#include "retort/framework/io/safetensors.hpp"

#include <algorithm>

#include "fuzz.hpp"

using namespace retort;

namespace {

struct Content {
  StateDict tensors;
  Metadata metadata;
};

bool same(const Content& a, const Content& b) {
  return a.metadata == b.metadata && std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(),
                                                b.tensors.end(), [](const auto& x, const auto& y) {
                                                  return x.first == y.first &&
                                                         fuzz::same_bits(x.second, y.second);
                                                });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::run(
      fuzz::memory_bound(size),
      [&] {
        Content content;
        content.tensors = parse_safetensors(fuzz::bytes_of(data, size), &content.metadata, fuzz::input_name);
        return content;
      },
      [](const Content& loaded) {
        const std::string path = fuzz::scratch_file();
        save_safetensors(path, loaded.tensors, loaded.metadata);
        Content again;
        again.tensors = load_safetensors(path, &again.metadata);
        if (!same(again, loaded)) fuzz::fail("saved and loaded again, it differs");
      });
  return 0;
}
