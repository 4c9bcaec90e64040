#include "distill/cli/settings.hpp"

#include <algorithm>
#include <fstream>
#include <retort/framework/base/error.hpp>
#include <retort/framework/io/json_impl.hpp>
#include <retort/losses/distillation_loss.hpp>
#include <type_traits>

namespace distill {
namespace {

using retort::IoError;
using retort::message;
using retort::ValueError;

using Integers = std::vector<std::int64_t*>;
using Numbers = std::vector<double*>;
using Texts = std::vector<std::string*>;
using Flags = std::vector<bool*>;

constexpr std::size_t longest_config = 64 << 10;  // bytes; far above any real configuration

constexpr unsigned mask(Command command) { return static_cast<unsigned>(command); }
constexpr unsigned distills = mask(Command::distill);
constexpr unsigned has_teacher = distills | mask(Command::train_teacher);
constexpr unsigned has_students = distills | mask(Command::teach);
constexpr unsigned trains = has_teacher | has_students;
constexpr unsigned reads_data = trains | mask(Command::evaluate) | mask(Command::report);

/// A text from a file in the form for messages: on one line, and shortened if it is long.
std::string shortened(std::string text) {
  constexpr std::size_t most = 200;
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;  // keep UTF-8 sequences whole
  return text.substr(0, end) + "…";
}

std::string shown(const Json& value) { return shortened(value.dump()); }

std::vector<std::string> divergences() {
  std::vector<std::string> names;
  for (int i = 0; i <= static_cast<int>(retort::Divergence::logit_mse); ++i)
    names.emplace_back(name(static_cast<retort::Divergence>(i)));
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

template <class T>
bool fits(const Json& value) {
  if constexpr (std::is_same_v<T, std::int64_t>)  // the parser returns larger ones as unsigned or fractions
    return value.is_number_integer() &&
           (!value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{1} << 62);
  else if constexpr (std::is_same_v<T, double>)
    return value.is_number();
  else
    return std::is_same_v<T, bool> ? value.is_boolean() : value.is_string();
}

template <class T>
constexpr const char* type_name = std::is_same_v<T, std::int64_t> ? "an integer"
                                  : std::is_same_v<T, double>     ? "a number"
                                  : std::is_same_v<T, bool>       ? "true or false"
                                                                  : "a text";

std::string dashed(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

/// The place of a dotted key in JSON.
Json::json_pointer pointer_to(std::string key) {
  std::ranges::replace(key, '.', '/');
  return Json::json_pointer('/' + key);
}

/// Writes the value to the setting's targets.
/// Throws: ValueError if it has the wrong type, is out of range, is not one of the choices, or is an empty
/// path.
void set(const Setting& setting, const Given& given) {
  const std::string& where = given.where;
  const Json& value = given.value;
  const auto write = [&]<class T>(const std::vector<T*>& targets) {
    if (!fits<T>(value))
      throw ValueError(message("{} must be {}, not {}", where, type_name<T>, shown(value)));
    const T typed = value.get<T>();
    if constexpr (std::is_same_v<T, std::string>) {
      if (!setting.choices.empty() && std::ranges::count(setting.choices, typed) == 0)
        throw ValueError(
            message("{} must be one of {}, not {}", where, joined(setting.choices), shown(value)));
      if (typed.empty()) throw ValueError(message("{} is empty; give a path", where));
    } else if constexpr (!std::is_same_v<T, bool>) {
      const auto number = static_cast<double>(typed);
      if (!(number >= setting.low && number <= setting.high))  // also true for NaN
        throw ValueError(
            message("{} must be between {} and {}, not {}", where, setting.low, setting.high, number));
    }
    for (T* const target : targets) *target = typed;
  };
  std::visit(write, setting.targets);
}

/// Adds all values of the object and its sections to `layer`, by setting key.
/// Throws: ValueError if a key is unknown or given twice.
void collect(const Json& object, const std::string& section, const std::string& path,
             const std::vector<Setting>& settings, Layer& layer) {
  if (const std::string* twice = retort::detail::repeated_key(object.get_ref<const Json::object_t&>()))
    throw ValueError(message("{}: {} is given twice", path, shown(Json(*twice))));
  for (const auto& [key, value] : object.items()) {
    const std::string name = section + key;
    const Setting* setting = find_setting(settings, name);
    const auto is_inside = [&](const Setting& s) { return dashed(s.key).starts_with(dashed(name) + '.'); };
    if (value.is_object() && std::ranges::any_of(settings, is_inside)) {
      collect(value, name + '.', path, settings, layer);
    } else if (!setting) {
      throw ValueError(
          message("{}: unknown key {}; the keys are the flags that --help lists, and those of the "
                  "example's file",
                  path, shown(Json(name))));
    } else if (!layer.emplace(setting->key, Given{message("{}: {}", path, name), value}).second) {
      throw ValueError(message("{}: {} is given twice", path, shown(Json(name))));
    }
  }
}

}  // namespace

std::vector<Setting> settings_of(Options& o) {
  std::vector<Setting> settings = {
      {"data", "data", Texts{&o.data}, "Folder of images and labels in MNIST's four IDX files", reads_data},
      {"out", "out", Texts{&o.out},
       "Run folder. Without --resume, a run starts again and replaces an earlier one there",
       trains | mask(Command::report)},
      {"seed", "seed", Integers{&o.seed}, "Seed of the teacher and of the first student", trains, 0, 1e15},
      {"seeds", "seeds", Integers{&o.seeds},
       "Seeds, each of which trains one student alone and one distilled", has_students, 1, 1e4},
      {"threads", "threads", Integers{&o.threads}, "Threads; they do not change the result",
       trains | mask(Command::evaluate), 1, 1024, "all processors"},
      {"batch-size", "batch_size", Integers{&o.batch_size}, "Images in a batch", trains, 1, 1e6},
      {"shards", "shards", Integers{&o.shards},
       "Parts of a batch, which the processes of mpirun share; 0: none. The result depends on it, but not on "
       "the number of processes",
       trains, 0, 1e6},
      {"temperature", "distillation.temperature", Numbers{&o.temperature},
       "Temperature T that softens teacher and student", trains, 0.01, 1000},
      {"alpha", "distillation.alpha", Numbers{&o.alpha}, "Weight of the teacher; the labels have 1 - alpha",
       has_students, 0, 1},
      {"divergence", "distillation.divergence", Texts{&o.divergence},
       "How the distilled student is compared with the teacher: " + joined(divergences()), has_students},
      {"beta", "distillation.beta", Numbers{&o.beta},
       "Weight of the teacher in the mixture of jensen_shannon, skew_kl and skew_reverse_kl", has_students, 0,
       1},
      {"top-k", "distillation.top_k", Integers{&o.top_k},
       "Keep only so many of the most probable classes of the teacher's answer to an image", trains, 1, 1e6,
       "all classes"},
      {"teacher", "teacher.file", Texts{&o.teacher_file},
       "Teacher: a .safetensors file written here or by PyTorch, of linear layers with ReLU between them",
       mask(Command::teach)},
      {"teacher-logits", "teacher.logits", Texts{&o.teacher_logits},
       "Instead of a teacher, its logits for the training images: a file of train-teacher --save-logits",
       mask(Command::teach)},
      {"save-logits", "teacher.save_logits", Texts{&o.save_logits},
       "Also write the teacher's logits for the training images to this .safetensors file",
       mask(Command::train_teacher)},
      {"teacher-width", "teacher.width", Integers{&o.teacher_width},
       "Units in each of the teacher's two hidden layers", has_teacher, 1, 16384},
      {"student-width", "student.width", Integers{&o.student_width}, "Units in the student's hidden layer",
       has_students, 1, 16384},
      {"student-images", "student.images", Integers{&o.student_images},
       "Training images that a student sees, drawn by the seed", has_students, 1, 1e9},
  };
  const auto add_recipe = [&](const std::string& prefix, const std::string& section, const std::string& whose,
                              unsigned commands, const std::vector<Recipe*>& recipes) {
    const auto add = [&]<class T>(const char* name, T Recipe::*member, const std::string& what, double low,
                                  double high) {
      std::vector<T*> targets;
      for (Recipe* const recipe : recipes) targets.push_back(&(recipe->*member));
      settings.push_back({commands == 0 ? "" : prefix + dashed(name), section + '.' + name, targets,
                          what + whose, commands, low, high});
    };
    add("epochs", &Recipe::epochs, "Epochs of ", 1, 1e5);
    add("lr", &Recipe::lr, "Learning rate of ", 1e-6, 100);
    add("weight_decay", &Recipe::weight_decay, "Weight decay of ", 0, 100);
    add("dropout", &Recipe::dropout, "Share of hidden units dropped in training ", 0, 0.99);
  };
  add_recipe("", "optimizer", "all networks", 0, {&o.teacher, &o.alone, &o.distilled});
  add_recipe("", "teacher", "the teacher", has_teacher, {&o.teacher});
  add_recipe("student-", "student", "both students", has_students, {&o.alone, &o.distilled});
  add_recipe("alone-", "alone", "the student alone", has_students, {&o.alone});
  add_recipe("distilled-", "distilled", "the distilled student", has_students, {&o.distilled});
  settings.push_back({"fused", "distillation.fused", Flags{&o.fused},
                      "Use DistillationLoss, the same loss in one operation", has_students});
  settings.push_back({"standardize", "distillation.standardize", Flags{&o.standardize},
                      "Compare logits of mean 0 and standard deviation 1 in each row", has_students});
  settings.push_back(
      {"held-out", "held_out", Integers{&o.held_out},
       "Judge on this number of training images, which no network is trained on, in place of the "
       "test images",
       trains, 0, 1e9});
  settings.push_back({"log-steps", "log_steps", Integers{&o.log_steps},
                      "Steps from one line about the loss in metrics.jsonl to the next", trains, 1, 1e9});
  settings.push_back({"checkpoint-seconds", "checkpoint_seconds", Numbers{&o.checkpoint_seconds},
                      "Least time between two checkpoints within a training; 0: one after each step", trains,
                      0, 1e6});
  settings.push_back({"select", "select", Flags{&o.select},
                      "Choose the students' recipes, write SELECTION.md and stop", distills});
  settings.push_back({"quiet", "quiet", Flags{&o.quiet}, "Show no progress", trains});
  const auto named = [&](const char* key) -> Setting& {
    return *std::ranges::find(settings, key, &Setting::key);
  };
  named("distillation.divergence").choices = divergences();
  for (const char* key : {"data", "out", "threads", "teacher.save_logits", "checkpoint_seconds", "quiet"})
    named(key).changes_result = false;
  for (const char* key :
       {"held_out", "shards", "distillation.divergence", "distillation.beta", "distillation.standardize"})
    named(key).optional = true;
  return settings;
}

const Setting* find_setting(const std::vector<Setting>& settings, std::string_view name) {
  const std::string wanted = dashed(name);
  const auto found = std::find_if(settings.begin(), settings.end(), [&](const Setting& setting) {
    return dashed(setting.key) == wanted || (!setting.flag.empty() && setting.flag == wanted);
  });
  return found == settings.end() ? nullptr : &*found;
}

void apply_layer(const Layer& layer, const std::vector<Setting>& settings) {
  for (const Setting& setting : settings)
    if (const auto given = layer.find(setting.key); given != layer.end()) set(setting, given->second);
}

Layer read_config(const std::string& path, const std::vector<Setting>& settings) {
  std::ifstream file(path);
  if (!file) throw IoError(message("--config: cannot open {}", path));
  std::string text(longest_config + 1, '\0');
  file.read(text.data(), std::ssize(text));
  if (file.bad()) throw IoError(message("--config: cannot read {}", path));
  text.resize(file.gcount());
  return parse_config(text, path, settings);
}

Layer parse_config(std::string_view text, const std::string& path, const std::vector<Setting>& settings) {
  if (text.size() > longest_config)
    throw ValueError(message("{}: is longer than {} bytes, which no configuration is", path, longest_config));
  Json parsed;
  try {
    parsed = retort::detail::parse_strict(text, {.depth = 8, .parts = 2000});
  } catch (const retort::detail::JsonError& error) {
    throw ValueError(
        message("{}: is not JSON at its byte {}: {}", path, error.byte, shortened(error.what())));
  } catch (const ValueError& error) {
    throw ValueError(message("{}: {} for a configuration", path, error.what()));
  }
  if (!parsed.is_object())
    throw ValueError(
        message("{}: must hold one object, {\"seeds\": 5, \"teacher\": {\"epochs\": 8}, ...}", path));
  Layer layer;
  collect(parsed, "", path, settings, layer);
  return layer;
}

Json config_of(const Options& options) {
  Options copy = options, defaults;
  Json config = Json::object();
  const std::vector<Setting> settings = settings_of(copy), initial = settings_of(defaults);
  const auto value_of = [](const Setting& setting) {
    return std::visit(
        [](const auto& targets) { return targets.size() > 1 ? Json() : Json(*targets.front()); },
        setting.targets);
  };
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const Setting& setting = settings[i];
    const Json value = value_of(setting);
    const bool unset = value.is_null() || value == "" || (value.is_number_integer() && value < setting.low) ||
                       (setting.optional && value == value_of(initial[i]));
    if (!unset && (setting.commands & mask(options.command)) != 0) config[pointer_to(setting.key)] = value;
  }
  return config;
}

Json value_at(const Json& config, const std::string& key) {
  const Json::json_pointer pointer = pointer_to(key);
  return config.contains(pointer) ? config.at(pointer) : Json();
}

std::string first_difference(const Json& before, const Json& after) {
  Options any;
  for (const Setting& setting : settings_of(any))
    if (setting.changes_result && value_at(before, setting.key) != value_at(after, setting.key))
      return setting.key;
  return {};
}

}  // namespace distill
