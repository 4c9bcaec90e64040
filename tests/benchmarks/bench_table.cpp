// Runs the benchmark programs in turn, case by case, and prints one table of medians, ratios and shares of
// the limit.
#include <signal.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <stdexcept>

#include "cases.hpp"
#include "program.hpp"

namespace {

using bench::Program;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A column of the table: one form of one program.
struct Contender {
  std::string key, title, form;
  std::vector<std::string> command;
  std::string libraries = {};
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string text(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

std::string time_text(double seconds) {
  if (seconds < 1e-6) return text("%.3g ns", seconds * 1e9);
  if (seconds < 1e-3) return text("%.3g us", seconds * 1e6);
  return seconds < 1 ? text("%.3g ms", seconds * 1e3) : text("%.3g s", seconds);
}

std::string megabytes(double bytes) { return text("%.1f", bytes / 1e6); }

std::string first_match(const char* file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with(key)) return line.substr(line.find_first_not_of(" \t", line.find(':') + 1));
  return "unknown";
}

std::string first_line(const char* file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = i < rows[r].size() ? rows[r][i] : "";
      const std::string space(widths[i] - cell.size(), ' ');
      std::cout << "| " << (i == 0 ? cell + space : space + cell) << " ";
    }
    std::cout << "|\n";
    if (r > 0) continue;
    for (std::size_t i = 0; i < widths.size(); ++i)
      std::cout << "|" << std::string(widths[i] + 1, '-') << (i == 0 ? "-" : ":");
    std::cout << "|\n";
  }
}

#if defined(__AVX512F__)
constexpr const char* instruction_set = "AVX-512";
#elif defined(__AVX2__)
constexpr const char* instruction_set = "AVX2";
#else
constexpr const char* instruction_set = "baseline";
#endif

bool can_import(const std::string& python, const std::string& module) {
  return std::system((python + " -c 'import " + module + "' >/dev/null 2>&1").c_str()) == 0;
}

struct Plan {
  std::string filter = ".", json_path = {}, python = {}, peer_libraries = {};
  std::vector<int> threads = {1, 2};
  int repetitions = 9;
  double min_time = 0.2;
  bool quick = false, list = false;
};

class Run {
 public:
  Run(const Plan& plan, const std::filesystem::path& folder) : plan_(plan) {
    const std::string retort = (folder / "retort_bench").string(), limit = (folder / "limit_bench").string(),
                      libtorch = (folder / "libtorch_bench").string();
    contenders_ = {{"retort", "Retort", "composed", {retort}}, {"fused", "fused", "fused", {retort}}};
    if (std::filesystem::exists(libtorch))
      contenders_.push_back({"libtorch", "libtorch", "composed", {libtorch}, plan.peer_libraries});
    if (!plan.python.empty()) {
      const auto add = [&](const char* module, const char* script, auto... forms) {
        if (!can_import(plan.python, module)) return;
        const std::vector<std::string> command = {plan.python, std::string(PEER_FOLDER) + "/" + script};
        (contenders_.push_back({forms, forms, forms, command}), ...);
      };
      add("torch", "peer_torch.py", "eager", "compiled");
      add("jax", "peer_jax.py", "jax");
      add("mlx.core", "peer_mlx.py", "mlx");
    }
    peers_ = {contenders_.begin() + 2, contenders_.end()};
    contenders_.push_back({"strips", "", "strips", {limit}});
    contenders_.push_back({"whole", "", "whole", {limit}});
    for (const Contender& contender : contenders_) {
      auto& program = programs_[contender.command];
      if (!program) program = std::make_unique<Program>(contender.command, contender.libraries);
    }
  }

  /// Calls save(result) after each case: a run takes long, and may be cut off.
  template <class Save>
  Json measure(Save save) {
    Json result = {{"about", about()}, {"results", Json::array()}};
    for (const Json& test : bench::cases()) {
      if (!std::regex_search(test["name"].get<std::string>(), std::regex(plan_.filter))) continue;
      std::cerr << test["name"].get<std::string>() << std::endl;
      measure_limits(test.contains("flops"));
      for (Json& row : measure_case(test)) result["results"].push_back(std::move(row));
      add_limits(result);
      save(result);
    }
    if (std::regex_search("start", std::regex(plan_.filter))) {
      result["start"] = measure_start();
      save(result);
    }
    return result;
  }

  void print(const Json& result) const {
    const Json& about = result["about"];
    std::cout << "Processor: " << about["processor"].get<std::string>() << ", " << about["processors"]
              << " processors; " << about["system"].get<std::string>()
              << "; load when begun: " << about["load"].get<std::string>() << "; "
              << about["date"].get<std::string>() << "\n";
    for (const auto& [name, program] : about["programs"].items())
      std::cout << name << ": " << program.dump() << "\n";
    if (about.contains("rate"))
      for (const auto& [threads, rate] : about["rate"].items())
        std::cout << "Product of 1024, threads " << threads << ": "
                  << text("%.1f GFLOP/s\n", double(rate) / 1e9);
    for (const auto& [threads, bandwidth] : about["bandwidth"].items())
      std::cout << "Triad with streaming stores, threads " << threads << ": "
                << text("%.1f GB/s\n", double(bandwidth) / 1e9);
    std::cout
        << "Instruction set of this build: " << instruction_set << "\n"
        << "Medians of " << about["repetitions"]
        << " runs that alternate (heavy cases fewer). \"x\": how many times as "
           "fast as the peer Retort is, composed and fused.\n"
           "Limit: the bare matrix products, by cblas_sgemm or by Retort's own kernel, whichever is faster,\n"
           "and the bytes beyond 4 MB that must move at the triad's speed. For layers: those bytes, or the\n"
           "floating-point operations at the rate of the product of 1024, whichever takes longer.\n"
           "Share: of the limit, reached. The BLAS above names the processor that it assumes.\n"
           "Requests: for memory from the system in all timed steps; peak: most bytes in use in a step, MB;\n"
           "RSS: most memory resident, MB.\n\n";
    std::vector<std::vector<std::string>> rows(1, {"case", "threads", "Retort", "fused"});
    auto& head = rows[0];
    for (const Contender& peer : peers_) head.insert(head.end(), {peer.title, "x", "x fused"});
    head.insert(head.end(), {"limit", "share", "share fused", "to 1 thread", "fused to 1", "requests", "peak",
                             "peak fused", "RSS", "RSS fused"});
    for (const Contender& peer : peers_) head.push_back("RSS " + peer.title);
    for (const Json& row : result["results"]) rows.push_back(cells(row));
    if (rows.size() > 1) print_table(rows);
    print_summary(result);
    if (!result.contains("start")) return;
    std::cout << "\nA small training program (B32 64-128-32-10, 100 steps)\n\n";
    rows.assign(1, {"program", "start to first step", "most resident, MB"});
    for (const Json& row : result["start"])
      rows.push_back({row["name"], time_text(row["first_step"]), megabytes(row["peak_resident"])});
    print_table(rows);
  }

 private:
  Program& limits() { return *programs_.at(contenders_.back().command); }

  Json about() {
    utsname system{};
    uname(&system);
    const std::time_t now = std::time(nullptr);
    char date[32];
    std::strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
    Json made = {{"processor", first_match("/proc/cpuinfo", "model name")},
                 {"processors", sysconf(_SC_NPROCESSORS_ONLN)},
                 {"system", std::string(system.sysname) + " " + system.release},
                 {"load", first_line("/proc/loadavg")},
                 {"date", date},
                 {"repetitions", plan_.repetitions},
                 {"min_time", plan_.min_time}};
    for (const auto& [command, program] : programs_) {
      Json answer = program->ask({{"about", true}});
      const std::string name = answer["name"];
      answer.erase("name");
      made["programs"][name] = answer;
    }
    return made;
  }

  // The best of all tries: the processor and the memory can do that much.
  void measure_limits(bool with_products) {
    constexpr int elements = 1 << 24, side = 1024;
    Json product = {{"a", "a"}, {"b", "b"}, {"c", "c"}, {"transpose_a", false}, {"transpose_b", false}};
    product.update({{"m", side}, {"n", side}, {"k", side}});
    for (const int threads : plan_.threads) {
      const auto improve = [&](double& best, double work, Json request) {
        request["threads"] = threads;
        best = std::max(best, work / limits().ask(request)["seconds"].get<double>());
      };
      improve(bandwidth_[threads], 3.0 * sizeof(float) * elements,
              {{"kind", "triad"}, {"elements", elements}});
      for (const char* form : {"strips", "whole"})
        if (with_products)
          improve(rate_[threads], 2.0 * side * side * side,
                  {{"form", form}, {"products", Json::array({product})}});
    }
  }

  void add_limits(Json& result) const {
    for (const auto& [threads, bandwidth] : bandwidth_)
      result["about"]["bandwidth"][std::to_string(threads)] = bandwidth;
    for (const auto& [threads, rate] : rate_) result["about"]["rate"][std::to_string(threads)] = rate;
    for (Json& row : result["results"]) {
      constexpr double cached = 4e6;  // fewer bytes stay in a cache
      const double bytes = row["bytes"];
      double limit = bytes < cached ? 0 : bytes / bandwidth_.at(row["threads"].get<int>());
      if (row.contains("strips"))
        limit += std::min(double(row["strips"]["median"]), double(row["whole"]["median"]));
      if (double(row["flops"]) > 0)
        limit = std::max(limit, double(row["flops"]) / rate_.at(row["threads"].get<int>()));
      if (limit > 0) row["limit"] = limit;
    }
  }

  // A peer that ends in a case is missing from that case and starts again.
  Json ask(const Contender& contender, const Json& request) {
    auto& program = programs_.at(contender.command);
    try {
      return program->ask(request);
    } catch (const std::runtime_error& error) {
      const auto is_this = [&](const Contender& peer) { return peer.key == contender.key; };
      if (std::ranges::none_of(peers_, is_this)) throw;
      std::cerr << "  without " << contender.key << ": " << error.what() << std::endl;
      program = std::make_unique<Program>(contender.command, contender.libraries);
      return {{"skipped", true}};
    }
  }

  // All contenders for all numbers of threads in turn, so that a busy moment of the machine affects all of
  // them.
  std::vector<Json> measure_case(const Json& test) {
    const bool heavy = test.value("heavy", false);
    std::map<std::pair<int, std::string>, std::vector<double>> seconds;
    std::map<int, Json> rows;
    const int repetitions = !heavy ? plan_.repetitions : plan_.quick ? 1 : std::min(plan_.repetitions, 3);
    for (int repetition = 0; repetition < repetitions; ++repetition)
      for (const int threads : plan_.threads)
        for (const Contender& contender : contenders_) {
          const auto first = seconds.find({threads, contender.key}), own = seconds.find({threads, "retort"});
          // A peer that is far behind is measured once.
          if (first != seconds.end() && own != seconds.end() &&
              first->second.front() > 20 * own->second.front())
            continue;
          Json request = test;
          request.update({{"form", contender.form}, {"threads", threads}, {"min_time", plan_.min_time}});
          Json answer = ask(contender, request);
          if (answer.contains("skipped")) continue;
          seconds[{threads, contender.key}].push_back(answer["seconds"].get<double>() /
                                                      test.value("per", 1.0));
          answer.erase("seconds");
          Json& kept = rows[threads][contender.key];
          for (const auto& [key, value] : answer.items())
            if (!kept.contains(key) || value > kept[key]) kept[key] = value;
        }
    std::vector<Json> made;
    for (auto& [threads, row] : rows) {
      row["name"] = test["name"];
      row["threads"] = threads;
      row["bytes"] = test.value("bytes", 0.0);
      row["flops"] = test.value("flops", 0.0);
      for (const Contender& contender : contenders_)
        if (const auto found = seconds.find({threads, contender.key}); found != seconds.end()) {
          row[contender.key]["median"] = median(found->second);
          row[contender.key]["seconds"] = found->second;
        }
      made.push_back(row);
      for (const char* form : {"retort", "fused"})
        if (row.contains(form))
          made.back()[form]["to_first"] = double(row[form]["median"]) / double(made[0][form]["median"]);
    }
    return made;
  }

  Json measure_start() const {
    Json request;
    for (const Json& test : bench::cases())
      if (test["kind"] == "step" && request.is_null()) request = test;
    request["steps"] = 100;
    Json made = Json::array();
    for (const Contender& contender : contenders_) {
      if (contender.title.empty() || contender.form == "fused") continue;
      request["form"] = contender.form;
      std::vector<double> seconds, memory;
      for (int i = 0; i < plan_.repetitions; ++i) {
        const Clock::time_point start = Clock::now();
        Program program(contender.command, contender.libraries);
        if (program.ask(request).contains("skipped")) break;
        seconds.push_back(seconds_since(start));
        program.read();
        memory.push_back(static_cast<double>(program.finish()));
      }
      if (seconds.empty()) continue;
      made.push_back(
          {{"name", contender.title}, {"first_step", median(seconds)}, {"peak_resident", median(memory)}});
    }
    return made;
  }

  /// The median over the rows of the ratio to the best peer, and the rows in which a peer is faster.
  void print_summary(const Json& result) const {
    for (const int threads : plan_.threads) {
      std::vector<double> ratios;
      std::string behind;
      for (const Json& row : result["results"]) {
        if (row["threads"] != threads || !row.contains("retort")) continue;
        double mine = row["retort"]["median"], best = 0;
        if (row.contains("fused")) mine = std::min(mine, double(row["fused"]["median"]));
        for (const Contender& peer : peers_)
          if (row.contains(peer.key) && (best == 0 || double(row[peer.key]["median"]) < best))
            best = row[peer.key]["median"];
        if (best == 0) continue;
        ratios.push_back(best / mine);
        if (best < mine) behind += "\n  " + row["name"].get<std::string>() + text(": %.2f", best / mine);
      }
      if (ratios.empty()) continue;
      std::cout << "\nThreads " << threads << ": " << text("%.2f", median(ratios))
                << " times as fast as the best peer, median of " << ratios.size()
                << " rows; slower in:" << (behind.empty() ? " none" : behind) << "\n";
    }
  }

  std::vector<std::string> cells(const Json& row) const {
    const auto number = [&row](const std::string& column, const char* key, const auto& show) {
      return row.contains(column) && row[column].contains(key) ? show(double(row[column][key]))
                                                               : std::string();
    };
    const auto ratio = [](double value) { return text("%.2f", value); };
    const auto quotient = [&](double above, const std::string& below) {
      return number(below, "median", [&](double seconds) { return text("%.2f", above / seconds); });
    };
    std::vector<std::string> cells = {row["name"], std::to_string(row["threads"].get<int>()),
                                      number("retort", "median", time_text),
                                      number("fused", "median", time_text)};
    for (const Contender& peer : peers_) {
      cells.push_back(number(peer.key, "median", time_text));
      for (const char* form : {"retort", "fused"})
        cells.push_back(row.contains(peer.key) ? quotient(row[peer.key]["median"], form) : "");
    }
    const bool limited = row.contains("limit");
    cells.push_back(limited ? time_text(row["limit"]) : "");
    for (const char* form : {"retort", "fused"}) cells.push_back(limited ? quotient(row["limit"], form) : "");
    for (const char* form : {"retort", "fused"}) cells.push_back(number(form, "to_first", ratio));
    std::int64_t requests = 0;
    for (const char* form : {"retort", "fused"})
      if (row.contains(form)) requests += row[form]["system_requests"].get<std::int64_t>();
    cells.push_back(std::to_string(requests));
    for (const char* form : {"retort", "fused"}) cells.push_back(number(form, "pool_peak", megabytes));
    for (const char* form : {"retort", "fused"}) cells.push_back(number(form, "peak_resident", megabytes));
    for (const Contender& peer : peers_) cells.push_back(number(peer.key, "peak_resident", megabytes));
    return cells;
  }

  Plan plan_;
  std::vector<Contender> contenders_, peers_;
  std::map<std::vector<std::string>, std::unique_ptr<Program>> programs_;
  std::map<int, double> bandwidth_, rate_;
};

/// The first of the interpreters that can import torch; none when there is none.
std::string python_with_torch() {
  for (const char* name : {"python3", "python"})
    if (can_import(name, "torch")) return name;
  return {};
}

/// Debian's threaded OpenBLAS, if it is installed next to the serial one: libtorch has no other threads for
/// products.
std::string threaded_blas() {
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib"))
    if (const auto folder = entry.path() / "openblas-pthread";
        std::filesystem::exists(folder / "libblas.so.3"))
      return folder.string();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  CLI::App app("Measures Retort next to its peers and its limits.");
  app.add_option("--cases", plan.filter,
                 "Only cases whose name matches this regular expression (start: the start-up)");
  app.add_option("--threads", plan.threads, "Numbers of threads (1,2)")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  const auto* repetitions =
      app.add_option("--repetitions", plan.repetitions, "Runs of which the median is taken (9)");
  const auto* min_time = app.add_option("--min-time", plan.min_time, "Seconds of one run, at least (0.2)");
  app.add_flag("--quick", plan.quick, "3 runs of 0.03 s; heavy cases once");
  app.add_flag("--list", plan.list, "Print the cases as requests to the programs, and end");
  app.add_option("--json", plan.json_path, "Also write all figures to this file");
  app.add_option(
      "--python", plan.python,
      "An interpreter with torch, jax or mlx, to be measured too (default: python3 if it has torch)");
  app.add_option("--peer-libraries", plan.peer_libraries,
                 "Where libtorch finds its BLAS (default: Debian's threaded OpenBLAS if it is installed)");
  CLI11_PARSE(app, argc, argv);
  if (plan.list) {
    for (nlohmann::json test : bench::cases())
      if (std::regex_search(test["name"].get<std::string>(), std::regex(plan.filter))) {
        test.update({{"form", "composed"}, {"threads", plan.threads.front()}, {"min_time", plan.min_time}});
        std::cout << test << "\n";
      }
    return 0;
  }
  if (plan.quick && repetitions->empty()) plan.repetitions = 3;
  if (plan.quick && min_time->empty()) plan.min_time = 0.03;
  std::sort(plan.threads.begin(), plan.threads.end());
  signal(SIGPIPE, SIG_IGN);
  try {
    if (plan.python.empty()) plan.python = python_with_torch();
    if (plan.peer_libraries.empty()) plan.peer_libraries = threaded_blas();
    Run run(plan, std::filesystem::canonical("/proc/self/exe").parent_path());
    const Json result = run.measure([&plan](const Json& so_far) {
      if (!plan.json_path.empty()) std::ofstream(plan.json_path) << so_far.dump(1) << "\n";
    });
    run.print(result);
  } catch (const std::exception& error) {
    std::cerr << "bench_table: " << error.what() << "\n";
    return 1;
  }
}
