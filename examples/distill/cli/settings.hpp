// The table of all settings, and what it is read from: values that are checked by type and range.
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

using Json = nlohmann::ordered_json;  // keeps the order that keys are written in

/// A setting by its two names. Setting it writes all targets; they are of one type.
struct Setting {
  using Targets = std::variant<std::vector<std::int64_t*>, std::vector<double*>, std::vector<std::string*>,
                               std::vector<bool*>>;
  std::string flag = {};  ///< without the dashes; empty: it has none
  std::string key = {};   ///< its path in the configuration file, such as "teacher.lr"
  Targets targets = {};
  std::string help = {};
  unsigned commands = 0;  ///< those that have the flag: a sum of Command
  double low = 0;         ///< bounds of a number
  double high = 0;
  std::string shown_default = {};         ///< absent: what the targets hold
  std::vector<std::string> choices = {};  ///< of a text; empty for a path
  bool changes_result = true;             ///< whether a run that is resumed must keep it
  bool optional = false;                  ///< config_of() leaves it out at its default
};

/// The settings of these options. What writes several networks' comes before what writes one, so that the
/// latter has the last word when a file or a command line gives both.
std::vector<Setting> settings_of(Options& options);

/// The setting that a file or --set calls by that name: the key or the flag; '_' and '-' are equivalent. Null
/// when there is none.
const Setting* find_setting(const std::vector<Setting>& settings, std::string_view name);

/// Values given for some of the settings, by key.
struct Given {
  std::string where = {};  ///< begins what is said against the value
  Json value = {};
};
using Layer = std::map<std::string, Given>;

/// Writes them to the settings. ValueError for a wrong type or a value out of range.
void apply_layer(const Layer& layer, const std::vector<Setting>& settings);

/// The settings in a JSON file; sections may be nested or dotted. IoError when it cannot be read; ValueError
/// that names file and key for an unknown or repeated key, and for a file of more than 64 KB.
Layer read_config(const std::string& path, const std::vector<Setting>& settings);
/// The same from memory; messages use `path` for the file.
Layer parse_config(std::string_view text, const std::string& path, const std::vector<Setting>& settings);

/// The options as a configuration file holds them, in sections. What the command doesn't use is left out,
/// what is not set (no file, threads of the machine's choice), and those that only set others.
Json config_of(const Options& options);

/// The key of the first setting in which two such configurations, of a run that is resumed, must not differ
/// but do; empty when there is none.
std::string first_difference(const Json& before, const Json& after);

/// The number at a key of an object; NaN if it is null, as NaN and infinity are in JSON, or absent.
double number_in(const Json& object, const char* key);

/// The value at a dotted key; null when there is none.
Json value_at(const Json& config, const std::string& key);

}  // namespace distill
