#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <retort/framework/core/error.hpp>
#include <set>
#include <sstream>
#include <variant>
#include <vector>

namespace distill {
namespace {

using nlohmann::json;
using retort::IoError;
using retort::message;
using retort::ValueError;

/// A setting under the name of its flag. Setting it writes all targets; they are of one type.
struct Setting {
  using Targets = std::variant<std::vector<std::int64_t*>, std::vector<double*>, std::vector<std::string*>,
                               std::vector<bool*>>;
  std::string name;
  Targets targets;
  std::string help;
  double low = 0;  ///< bounds of a number
  double high = 0;
  std::string shown_default = {};  ///< absent: what the targets hold
};

std::vector<Setting> settings_of(Options& o) {
  using Integers = std::vector<std::int64_t*>;
  using Numbers = std::vector<double*>;
  using Texts = std::vector<std::string*>;
  using Flags = std::vector<bool*>;
  std::vector<Setting> settings = {
      {"data", Texts{&o.data}, "Folder of images and labels in MNIST's four IDX files"},
      {"out", Texts{&o.out}, "Folder that the result is written to"},
      {"seed", Integers{&o.seed}, "Seed of the teacher and of the first student", 0, 1e15},
      {"seeds", Integers{&o.seeds}, "Seeds, each of which trains one student alone and one distilled", 1,
       1e4},
      {"threads", Integers{&o.threads}, "Threads; they do not change the result", 1, 1024, "all processors"},
      {"batch-size", Integers{&o.batch_size}, "Images in a batch", 1, 1e6},
      {"temperature", Numbers{&o.temperature}, "Temperature T that softens teacher and student", 0.01, 1000},
      {"alpha", Numbers{&o.alpha}, "Weight of the teacher; the labels have 1 - alpha", 0, 1},
      {"teacher-width", Integers{&o.teacher_width}, "Units in each of the teacher's two hidden layers", 1,
       16384},
      {"student-width", Integers{&o.student_width}, "Units in the student's hidden layer", 1, 16384},
      {"student-images", Integers{&o.student_images},
       "Training images that a student sees, drawn by the seed", 1, 1e9},
  };
  const auto add_recipe = [&](const std::string& prefix, const std::string& whose,
                              const std::vector<Recipe*>& recipes) {
    Integers epochs;
    Numbers lr, weight_decay, dropout;
    for (Recipe* recipe : recipes) {
      epochs.push_back(&recipe->epochs);
      lr.push_back(&recipe->lr);
      weight_decay.push_back(&recipe->weight_decay);
      dropout.push_back(&recipe->dropout);
    }
    const std::string dashed = prefix.empty() ? "" : prefix + "-";
    settings.push_back({dashed + "epochs", epochs, "Epochs of " + whose, 1, 1e5});
    settings.push_back({dashed + "lr", lr, "Learning rate of " + whose, 1e-6, 100});
    settings.push_back({dashed + "weight-decay", weight_decay, "Weight decay of " + whose, 0, 100});
    settings.push_back(
        {dashed + "dropout", dropout, "Share of hidden units dropped in training " + whose, 0, 0.99});
  };
  add_recipe("", "the teacher", {&o.teacher});
  // What is set for both comes before what is set for one, so that the latter has the last word.
  add_recipe("student", "both students", {&o.alone, &o.distilled});
  add_recipe("alone", "the student alone", {&o.alone});
  add_recipe("distilled", "the distilled student", {&o.distilled});
  settings.push_back({"fused", Flags{&o.fused}, "Use DistillationLoss, the same loss in one operation"});
  settings.push_back(
      {"select", Flags{&o.select}, "Choose the students' recipes, write SELECTION.md and stop"});
  settings.push_back({"quiet", Flags{&o.quiet}, "Show no progress"});
  return settings;
}

std::string shown(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

std::string default_of(const Setting& setting) {
  if (!setting.shown_default.empty()) return setting.shown_default;
  std::ostringstream text;
  std::visit(
      [&](const auto& targets) {
        text << *targets.front();
        if (*targets.back() != *targets.front()) text << " alone, " << *targets.back() << " distilled";
      },
      setting.targets);
  return text.str();
}

template <class T>
bool fits(const json& value) {
  if constexpr (std::is_same_v<T, std::int64_t>) {
    // Beyond int64 the parser gives an unsigned number or a fraction.
    return value.is_number_integer() &&
           (!value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{1} << 62);
  } else if constexpr (std::is_same_v<T, double>) {
    return value.is_number();
  } else if constexpr (std::is_same_v<T, bool>) {
    return value.is_boolean();
  } else {
    return value.is_string();
  }
}

template <class T>
constexpr const char* type_name = std::is_same_v<T, std::int64_t> ? "an integer"
                                  : std::is_same_v<T, double>     ? "a number"
                                  : std::is_same_v<T, bool>       ? "true or false"
                                                                  : "a text";

/// Writes `value` to a setting. `where` begins every error.
void set(const Setting& setting, const json& value, const std::string& where) {
  std::visit(
      [&](const auto& targets) {
        using T = std::remove_pointer_t<typename std::decay_t<decltype(targets)>::value_type>;
        if (!fits<T>(value))
          throw ValueError(message(where, " must be ", type_name<T>, ", not ", value.dump()));
        const T typed = value.get<T>();
        if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, double>) {
          const auto number = static_cast<double>(typed);
          if (!(number >= setting.low && number <= setting.high))  // not in range, NaN included
            throw ValueError(message(where, " must be between ", shown(setting.low), " and ",
                                     shown(setting.high), ", not ", shown(number)));
        } else if constexpr (std::is_same_v<T, std::string>) {
          if (typed.empty()) throw ValueError(message(where, " is empty; give the path of a folder"));
        }
        for (T* target : targets) *target = typed;
      },
      setting.targets);
}

/// The settings of a file by the names of their flags; "student_epochs" is taken for "student-epochs".
json read_config(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw IoError(message("--config: cannot open ", path));
  std::set<std::string> keys;
  const json::parser_callback_t refuse_repeated = [&](int depth, json::parse_event_t event, json& key) {
    if (event == json::parse_event_t::key && depth == 1 && !keys.insert(key.get<std::string>()).second)
      throw ValueError(message(path, ": ", key.dump(), " is given twice"));
    return true;
  };
  json parsed;
  try {
    parsed = json::parse(file, refuse_repeated);
  } catch (const json::exception& error) {
    throw ValueError(message(path, ": is not JSON: ", error.what()));
  }
  if (!parsed.is_object()) throw ValueError(message(path, ": must hold one object, {\"epochs\": 5, ...}"));
  json layer = json::object();
  for (const auto& [key, value] : parsed.items()) {
    std::string name = key;
    std::replace(name.begin(), name.end(), '_', '-');
    if (layer.contains(name)) throw ValueError(message(path, ": ", json(key).dump(), " is given twice"));
    layer[name] = value;
  }
  return layer;
}

/// Adds a flag for each setting; what is given on the command line comes into `layer`.
void add_flags(CLI::App& app, const std::vector<Setting>& settings, json& layer) {
  for (const Setting& setting : settings) {
    const std::string flag = "--" + setting.name;
    std::visit(
        [&](const auto& targets) {
          using T = std::remove_pointer_t<typename std::decay_t<decltype(targets)>::value_type>;
          const auto keep = [&layer, name = setting.name](const T& value) { layer[name] = value; };
          if constexpr (std::is_same_v<T, bool>) {
            app.add_flag_function(
                flag, [keep](std::int64_t) { keep(true); }, setting.help);
          } else {
            app.add_option_function<T>(flag, keep, setting.help)
                ->take_last()
                ->default_str(default_of(setting))
                ->type_name(std::is_same_v<T, std::string> ? "DIR"
                            : std::is_same_v<T, double>    ? "X"
                                                           : "N");
          }
        },
        setting.targets);
  }
}

}  // namespace

std::optional<Options> parse_options(int argc, const char* const* argv) {
  Options options;
  const std::vector<Setting> settings = settings_of(options);

  CLI::App app(
      "Trains a large teacher on all images, then small students on a few: alone with the labels, and distilled from "
      "the teacher. Prints how they do on the test set and writes it to DIR/result.json.",
      "distill");
  json flags = json::object();
  std::string config;
  app.add_option("--config", config,
                 "Settings as a JSON object, by the names of these flags, which override them")
      ->take_last()
      ->type_name("FILE.json");
  add_flags(app, settings, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw ValueError(message(error.what(), " (--help lists all flags)"));
  }

  const json file = config.empty() ? json::object() : read_config(config);
  for (const auto& [key, value] : file.items())
    if (std::none_of(settings.begin(), settings.end(),
                     [&key = key](const Setting& s) { return s.name == key; }))
      throw ValueError(
          message(config, ": unknown key ", json(key).dump(), "; the keys are the flags that --help lists"));
  for (const Setting& setting : settings)
    if (file.contains(setting.name)) set(setting, file[setting.name], config + ": " + setting.name);
  for (const Setting& setting : settings)
    if (flags.contains(setting.name)) set(setting, flags[setting.name], "--" + setting.name);
  return options;
}

}  // namespace distill
