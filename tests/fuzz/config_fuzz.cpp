// The reader of the distill example's configuration.
#include <distill/cli/options.hpp>
#include <distill/cli/settings.hpp>

#include "fuzz.hpp"

using namespace retort;

namespace {

// The table of settings takes longer to make than a file to read; it writes to the same options each time.
distill::Options read(std::string_view text) {
  static distill::Options options;
  static const std::vector<distill::Setting> settings = distill::settings_of(options);
  options = distill::Options();
  distill::apply_layer(distill::parse_config(text, std::string(fuzz::input_name), settings), settings);
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::run<ValueError>(
      fuzz::memory_bound(size),
      [&] {
        return read({reinterpret_cast<const char*>(data), size});
      },
      [](const distill::Options& loaded) {
        const distill::Json config = distill::config_of(loaded);
        if (distill::config_of(read(config.dump())) != config)
          fuzz::fail("written and read again, it differs");
      });
  return 0;
}
