#include "distill/report/table.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace distill {
namespace {

using retort::fixed;
using retort::message;
using retort::SampleSummary;
using retort::summarise;
using Json = nlohmann::ordered_json;  // keeps the order of the keys
using Student = Metrics SeedResult::*;

/// One of the three metrics and its presentation.
struct Column {
  const char* key;
  const char* title;
  double Metrics::*value;
  bool larger_is_better;
  double scale;  // display factor
  int digits;
};
constexpr std::array<Column, 3> columns = {
    Column{"accuracy", "accuracy, %", &Metrics::accuracy, true, 100, 2},
    Column{"nll", "neg. log-likelihood", &Metrics::nll, false, 1, 4},
    Column{"ece", "calibration error, %", &Metrics::ece, false, 100, 2},
};

std::vector<double> values_of(const Result& result, Student student, const Column& column, double scale = 1) {
  std::vector<double> values;
  for (const SeedResult& seed : result.seeds) values.push_back(scale * (seed.*student.*(column.value)));
  return values;
}

std::string seeds_of(const Result& result) {
  return message("{} {}", result.seeds.size(), result.seeds.size() == 1 ? "seed" : "seeds");
}

/// The differences of the distilled students from those alone.
struct Paired : SampleSummary {
  std::int64_t wins = 0;  ///< seeds for which the distilled student is better; ties do not count
};
Paired compare_students(const Result& result, const Column& column) {
  const std::vector<double> differences = retort::paired_differences(
      values_of(result, &SeedResult::alone, column), values_of(result, &SeedResult::distilled, column));
  return {summarise(differences), std::ranges::count_if(differences, [&](double difference) {
            return column.larger_is_better ? difference > 0 : difference < 0;
          })};
}

}  // namespace

std::string caption_of(const Result& result, const std::string& images) {
  const bool one = result.seeds.size() == 1;
  return message("On the {}: {}{}{}", images, one ? "" : "mean ± standard deviation over ", seeds_of(result),
                 one ? "" : ", difference with its 95 % interval");
}

std::vector<std::vector<std::string>> cells_of(const Result& result) {
  std::vector<std::vector<std::string>> rows;
  const auto add_row = [&](const std::string& name, const auto& cell) {
    rows.push_back({name});
    for (const Column& column : columns) rows.back().push_back(cell(column));
  };
  const auto mean_and_std = [&](Student student) {
    return [&result, student](const Column& c) {
      const SampleSummary summary = summarise(values_of(result, student, c, c.scale));
      const std::string mean = fixed(summary.mean, c.digits);
      return summary.count > 1 ? mean + " ± " + fixed(summary.std, c.digits) : mean;
    };
  };
  add_row("", [](const Column& c) { return std::string(c.title); });
  add_row("teacher", [&](const Column& c) {
    const double value = result.teacher.*(c.value);
    return std::isnan(value) ? "not known" : fixed(c.scale * value, c.digits);
  });
  add_row("student alone", mean_and_std(&SeedResult::alone));
  add_row("student distilled", mean_and_std(&SeedResult::distilled));
  add_row("distilled - alone", [&](const Column& c) {
    return retort::gain_text(values_of(result, &SeedResult::alone, c, c.scale),
                             values_of(result, &SeedResult::distilled, c, c.scale), c.digits);
  });
  add_row("distilled is better", [&](const Column& c) {
    return message("in {} of {}", compare_students(result, c).wins, seeds_of(result));
  });
  return rows;
}

std::string table_of(const Result& result) {
  std::vector<std::vector<std::string>> rows = cells_of(result);
  for (std::string& title : rows.front()) title.resize(title.empty() ? 22 : 28, ' ');  // fixed widths
  return caption_of(result, result.judges + " set") + "\n\n" + retort::text_table(rows);
}

std::string json_of(const Result& result) {
  Json json;
  for (const Column& c : columns)
    json["teacher"][c.key] = {{"mean", result.teacher.*(c.value)}, {"std", 0.0}};
  for (const auto& [key, student] :
       {std::pair("alone", &SeedResult::alone), {"distilled", &SeedResult::distilled}})
    for (const Column& c : columns) {
      const SampleSummary summary = summarise(values_of(result, student, c));
      json[key][c.key] = {{"mean", summary.mean}, {"std", summary.std}};
    }
  for (const Column& c : columns) {
    const Paired paired = compare_students(result, c);
    json["paired"][c.key] = {{"mean", paired.mean},
                             {"low", paired.mean - paired.half_width},  // NaN, written as null, for one seed
                             {"high", paired.mean + paired.half_width},
                             {"wins", paired.wins}};
  }
  for (const SeedResult& seed : result.seeds)
    json["runs"].push_back({{"seed", seed.seed}, {"alone", seed.alone}, {"distilled", seed.distilled}});
  json["seeds"] = result.seeds.size();
  json["seconds"] = result.seconds;
  return json.dump(2) + '\n';
}

Result result_of(const Json& json) {
  Result result;
  for (const Column& c : columns) result.teacher.*(c.value) = number_in(json.at("teacher").at(c.key), "mean");
  for (const Json& run : json.at("runs"))
    result.seeds.push_back({run.at("seed").get<std::int64_t>(), run.at("alone").get<Metrics>(),
                            run.at("distilled").get<Metrics>()});
  result.seconds = number_in(json, "seconds");
  return result;
}

}  // namespace distill
