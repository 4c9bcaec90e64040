#include "distill/report/table.hpp"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "distill/report/formatted.hpp"
#include "distill/run/statistics.hpp"

namespace distill {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order of the keys

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

std::vector<double> values_of(const Result& result, Metrics SeedResult::*student, const Column& column) {
  std::vector<double> values;
  for (const SeedResult& seed : result.seeds) values.push_back(seed.*student.*(column.value));
  return values;
}

Paired compare_students(const Result& result, const Column& column) {
  return compare(values_of(result, &SeedResult::alone, column),
                 values_of(result, &SeedResult::distilled, column), column.larger_is_better);
}

/// Pads to `width` columns; a UTF-8 character such as ± is one column.
std::string padded(std::string text, std::size_t width) {
  std::size_t shown = 0;
  for (const char c : text) shown += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  if (shown < width) text.append(width - shown, ' ');
  return text;
}

}  // namespace

std::string seeds_of(const Result& result) {
  return std::to_string(result.seeds.size()) + (result.seeds.size() == 1 ? " seed" : " seeds");
}

std::vector<std::vector<std::string>> cells_of(const Result& result) {
  std::vector<std::vector<std::string>> rows;
  const auto add_row = [&](const std::string& name, const auto& cell) {
    rows.push_back({name});
    for (const Column& column : columns) rows.back().push_back(cell(column));
  };
  const auto mean_and_std = [&](Metrics SeedResult::*student) {
    return [&result, student](const Column& c) {
      const Summary summary = summarise(values_of(result, student, c));
      return formatted("%.*f ± %.*f", c.digits, c.scale * summary.mean, c.digits, c.scale * summary.std);
    };
  };
  add_row("", [](const Column& c) { return std::string(c.title); });
  add_row("teacher", [&](const Column& c) {
    const double value = result.teacher.*(c.value);
    return std::isnan(value) ? "not known" : formatted("%.*f", c.digits, c.scale * value);
  });
  add_row("student alone", mean_and_std(&SeedResult::alone));
  add_row("student distilled", mean_and_std(&SeedResult::distilled));
  add_row("distilled - alone", [&](const Column& c) {
    const Paired paired = compare_students(result, c);
    std::string cell = formatted("%+.*f", c.digits, c.scale * paired.mean);
    if (paired.interval)
      cell += formatted(" [%+.*f, %+.*f]", c.digits, c.scale * paired.interval->low, c.digits,
                        c.scale * paired.interval->high);
    return cell;
  });
  add_row("distilled is better", [&](const Column& c) {
    return formatted("in %zu of %s", compare_students(result, c).wins, seeds_of(result).c_str());
  });
  return rows;
}

std::string table_of(const Result& result) {
  std::string table = "On the " + result.judges + " set: mean ± standard deviation over " + seeds_of(result) +
                      ", difference with its 95 % interval\n\n";
  for (const std::vector<std::string>& row : cells_of(result)) {
    std::string line = padded(row.front(), 24);
    for (std::size_t i = 1; i < row.size(); ++i) line += padded(row[i], 30);
    table += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return table;
}

std::string json_of(const Result& result) {
  Json json;
  for (const Column& c : columns)
    json["teacher"][c.key] = {{"mean", result.teacher.*(c.value)}, {"std", 0.0}};
  for (const auto& [key, student] :
       {std::pair("alone", &SeedResult::alone), {"distilled", &SeedResult::distilled}}) {
    for (const Column& c : columns) {
      const Summary summary = summarise(values_of(result, student, c));
      json[key][c.key] = {{"mean", summary.mean}, {"std", summary.std}};
    }
  }
  for (const Column& c : columns) {
    const Paired paired = compare_students(result, c);
    Json& entry = json["paired"][c.key];
    entry["mean"] = paired.mean;
    entry["low"] = paired.interval ? Json(paired.interval->low) : Json();
    entry["high"] = paired.interval ? Json(paired.interval->high) : Json();
    entry["wins"] = paired.wins;
  }
  json["runs"] = Json::array();
  for (const SeedResult& seed : result.seeds) {
    Json run = {{"seed", seed.seed}};
    for (const Column& c : columns) {
      run["alone"][c.key] = seed.alone.*(c.value);
      run["distilled"][c.key] = seed.distilled.*(c.value);
    }
    json["runs"].push_back(run);
  }
  json["seeds"] = result.seeds.size();
  json["seconds"] = result.seconds;
  return json.dump(2) + '\n';
}

}  // namespace distill
