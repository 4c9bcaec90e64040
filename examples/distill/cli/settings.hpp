// The table of all settings. Reads their values and checks types and ranges.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "distill/cli/options.hpp"

namespace distill {

using Json = nlohmann::ordered_json;  // keeps the order of the keys

/// A setting with a flag and a key. Its value is written to all targets, which have the same type.
struct Setting {
  using Targets = std::variant<std::vector<std::int64_t*>, std::vector<double*>, std::vector<std::string*>,
                               std::vector<bool*>>;
  std::string flag = {};  ///< without the dashes; empty: no flag
  std::string key = {};   ///< path in the configuration file, such as "teacher.lr"
  Targets targets = {};
  std::string help = {};
  unsigned commands = 0;  ///< commands with this flag: a sum of Command values
  double low = 0;         ///< range of a number: low to high
  double high = 0;
  std::string shown_default = {};         ///< default in the help; empty: the targets' values
  std::vector<std::string> choices = {};  ///< allowed texts; empty for a path
  bool changes_result = true;             ///< a resumed run must keep it
  bool optional = false;                  ///< config_of() omits it at its default
};

/// The settings of these options. Settings of several networks precede settings of one network, so the
/// latter take precedence if a file or a command line contains both.
std::vector<Setting> settings_of(Options& options);

/// The setting with this key or flag; '_' and '-' are equivalent. Null if there is none.
const Setting* find_setting(const std::vector<Setting>& settings, std::string_view name);

/// A value of a setting and its source. A Layer maps the keys of some settings to their values.
struct Given {
  std::string where = {};  ///< source, which begins error messages
  Json value = {};
};
using Layer = std::map<std::string, Given>;

/// Writes the values to the settings.
/// Throws: ValueError if a value has the wrong type or is out of range.
void apply_layer(const Layer& layer, const std::vector<Setting>& settings);

/// Reads the settings in a JSON file. Sections may be nested or dotted.
/// Throws: IoError if the file cannot be read; ValueError if it is not valid JSON, has more than 64 KB, or
/// has an unknown or repeated key.
Layer read_config(const std::string& path, const std::vector<Setting>& settings);
/// As read_config(), from memory. `path` names the file in messages.
Layer parse_config(std::string_view text, const std::string& path, const std::vector<Setting>& settings);

/// The options in the form of a configuration file, in sections. Omits settings that the command does not
/// use, that are not set (no file, default number of threads), or that only set others.
Json config_of(const Options& options);

/// The first key whose values differ although a resumed run must keep its value; empty if there is none.
std::string first_difference(const Json& before, const Json& after);

/// The value at a dotted key; null if there is none.
Json value_at(const Json& config, const std::string& key);

}  // namespace distill
