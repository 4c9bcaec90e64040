// The main() of the benchmark programs: Google Benchmark runs the cases that arrive on standard input.
#include "serve.hpp"

#include <benchmark/benchmark.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace {

using bench::Json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The most memory this process had resident since reset_peak(), in kB, as Linux counts it.
std::int64_t peak_resident() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (std::int64_t kilobytes = 0; word == "VmHWM:" && status >> kilobytes) return kilobytes;
  return 0;
}

void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

/// Keeps the runs that Google Benchmark reports and prints nothing.
class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& reported) override {
    runs.insert(runs.end(), reported.begin(), reported.end());
  }

  std::vector<Run> runs;
};

// Caches are filled, buffers are in the pool and threads are awake after two calls and twenty milliseconds;
// where one call takes half a second, one is enough.
void warm_up(const std::function<void()>& work) {
  const Clock::time_point start = Clock::now();
  for (int calls = 0; calls < 2 || seconds_since(start) < 0.02; ++calls) {
    work();
    if (seconds_since(start) > 0.5) return;
  }
}

Json measure(const Json& request) {
  bench::set_threads(request.value("threads", 1));
  bench::release_memory();
  reset_peak();
  const std::function<void()> work = bench::make_work(request);
  if (!work) return {{"skipped", true}};
  if (request.contains("steps")) {  // a program of this many steps; the answer describes the first
    work();
    std::cout << Json{{"first", true}} << std::endl;
    for (int step = 1; step < request["steps"]; ++step) work();
    return {{"last", true}};
  }
  warm_up(work);
  bench::start_counting();
  benchmark::ClearRegisteredBenchmarks();
  benchmark::RegisterBenchmark("case",
                               [&](benchmark::State& state) {
                                 for (auto _ : state) work();
                               })
      ->UseRealTime()
      ->MinTime(request.value("min_time", 0.1));
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  const auto& run = collector.runs.at(0);
  Json answer = bench::counted();
  answer["seconds"] = run.real_accumulated_time / static_cast<double>(run.iterations);
  answer["peak_resident"] = 1024 * peak_resident();
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (std::string line; std::getline(std::cin, line);) {
    const Json request = Json::parse(line);
    std::cout << (request.contains("about") ? bench::about() : measure(request)) << std::endl;
  }
}
