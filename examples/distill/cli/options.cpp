#include "distill/cli/options.hpp"

#include <CLI/CLI.hpp>
#include <array>
#include <bit>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <retort/framework/base/error.hpp>
#include <sstream>
#include <variant>
#include <vector>

#include "distill/cli/settings.hpp"

namespace distill {
namespace {

using retort::message;
using retort::ValueError;

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

/// The value of a flag or of --set. Its type is checked later. A number may begin with zeros or a '+'.
Json value_of(const Setting& setting, const std::string& text) {
  const auto parse = [&]<class T>(const std::vector<T*>&) -> Json {
    if constexpr (std::is_same_v<T, std::string>) return text;
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      T number{};
      const char* const begin = text.c_str() + (text.starts_with('+') && !text.starts_with("+-"));
      const char* const end = text.c_str() + text.size();
      if (const auto read = std::from_chars(begin, end, number); read.ec == std::errc() && read.ptr == end)
        return number;
    }
    Json value = Json::parse(text, nullptr, false);
    return value.is_discarded() ? Json(text) : value;
  };
  return std::visit(parse, setting.targets);
}

/// Adds the command's flags. Parsing writes their values to `layer`.
void add_flags(CLI::App& app, Command command, const std::vector<Setting>& settings, Layer& layer) {
  for (const Setting& setting : settings) {
    if ((setting.commands & static_cast<unsigned>(command)) == 0) continue;
    const std::string flag = "--" + setting.flag;
    if (std::holds_alternative<std::vector<bool*>>(setting.targets)) {
      const auto keep = [&layer, flag, &setting](std::int64_t) { layer[setting.key] = {flag, true}; };
      app.add_flag_function(flag, keep, setting.help);
      continue;
    }
    const auto keep = [&layer, flag, &setting](const std::string& text) {
      layer[setting.key] = {flag, value_of(setting, text)};
    };
    app.add_option_function<std::string>(flag, keep, setting.help)
        ->take_last()
        ->default_str(default_of(setting))
        ->type_name(std::holds_alternative<std::vector<double*>>(setting.targets)         ? "X"
                    : std::holds_alternative<std::vector<std::int64_t*>>(setting.targets) ? "N"
                    : !setting.choices.empty()                                            ? "NAME"
                    : default_of(setting).empty()                                         ? "FILE"
                                                                                          : "DIR");
  }
}

/// The values given with --set; for a repeated key, the last one.
/// Throws: ValueError if an assignment is malformed or its key is unknown.
Layer layer_of(const std::vector<std::string>& assignments, const std::vector<Setting>& settings) {
  Layer layer;
  for (const std::string& assignment : assignments) {
    const std::size_t equals = assignment.find('=');
    const std::string key = assignment.substr(0, equals);
    if (equals == std::string::npos || key.empty())
      throw ValueError(message("--set {}: give a key and its value, such as teacher.lr=0.002", assignment));
    const Setting* setting = find_setting(settings, key);
    if (!setting)
      throw ValueError(message("--set: unknown key \"{}\"; the keys are those of the example's file", key));
    layer[setting->key] = {"--set " + key, value_of(*setting, assignment.substr(equals + 1))};
  }
  return layer;
}

}  // namespace

std::string name(Command command) {
  constexpr std::array names = {"distill", "train-teacher", "teach", "evaluate", "report"};
  return names[static_cast<std::size_t>(std::countr_zero(static_cast<unsigned>(command)))];
}

void Options::say(const std::string& line) const {
  if (!silent()) std::cerr << line << '\n';
}

retort::DistillationLossOptions loss_options(const Options& options) {
  return {.temperature = options.temperature,
          .alpha = options.alpha,
          .divergence = retort::divergence_from_string(options.divergence),
          .beta = options.beta,
          .standardize = options.standardize};
}

void require_plain(const Options& options, const std::string& what) {
  if (options.standardize || options.divergence != "forward_kl")
    throw ValueError(message("{} needs --divergence forward_kl without --standardize", what));
}

std::optional<Options> parse_options(int argc, const char* const* argv) {
  Options options;
  const std::vector<Setting> settings = settings_of(options);
  std::string config_file;
  std::vector<std::string> assignments;  // of --set
  Layer flags;

  CLI::App app(
      "Trains a large teacher on all images, then small students on a few: alone with the labels, and "
      "distilled from the teacher. Prints their results on the test set and writes them to DIR/result.json. "
      "The subcommands do parts of this; each has its own --help.",
      "distill");
  const auto add = [&](CLI::App& to, Command command) {
    add_flags(to, command, settings, flags);
    if (command == Command::report) return;
    to.add_option("--config", config_file, "Settings as a JSON object, which --set and the flags override")
        ->take_last()
        ->type_name("FILE.json");
    to.add_option("--set", assignments,
                  "Another value for a key of the JSON file, such as teacher.lr=0.002; may be repeated")
        ->take_all()
        ->allow_extra_args(false)
        ->type_name("KEY=VALUE");
    if (command != Command::evaluate)
      to.add_flag("--resume", options.resume, "Resume the run in DIR where it was stopped");
  };
  add(app, Command::distill);
  app.require_subcommand(0, 1);
  for (const auto& [command, help] :
       {std::pair(Command::train_teacher, "Train a teacher and keep it as DIR/teacher.safetensors"),
        {Command::teach, "Train students, alone and from the teacher of --teacher or --teacher-logits"},
        {Command::evaluate, "Print how a .safetensors file of linear layers does on the test set"},
        {Command::report, "Write DIR/report.html again from the files in DIR"}}) {
    CLI::App* subcommand = app.add_subcommand(name(command), help);
    subcommand->callback([&options, command = command] { options.command = command; });
    add(*subcommand, command);
    if (command == Command::evaluate)
      subcommand->add_option("model", options.model, "The weights: written here, or by PyTorch")
          ->required()
          ->type_name("FILE");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw ValueError(message("{} (--help lists all flags)", error.what()));
  }

  flags.merge(layer_of(assignments, settings));  // flags override --set
  if (options.command == Command::report) {
    // The run folder's config.json names the folder of the images, and possibly another run folder.
    const Layer out = {{"out", flags.emplace("out", Given{"--out", options.out}).first->second}};
    apply_layer(out, settings);
    config_file = (std::filesystem::path(options.out) / "config.json").string();
    if (!std::filesystem::exists(config_file))
      throw retort::IoError(
          message("report: there is no {}; give the folder of a run as --out", config_file));
  }
  if (!config_file.empty()) apply_layer(read_config(config_file, settings), settings);
  apply_layer(flags, settings);
  if (options.command == Command::teach && options.teacher_file.empty() == options.teacher_logits.empty())
    throw ValueError("teach: give one of --teacher FILE and --teacher-logits FILE");
  if (options.top_k > 0) require_plain(options, "--top-k");
  try {
    retort::DistillationLoss{loss_options(options)};
  } catch (const ValueError& error) {
    throw ValueError(message("--beta: {}", error.what()));
  }
  return options;
}

}  // namespace distill
