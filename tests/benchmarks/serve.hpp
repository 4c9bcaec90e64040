// The interface of a benchmark program; serve.cpp holds its main(). A program reads one request per line from
// its input, a JSON object that describes a case, and answers each with one line; `bench_table --list` prints
// such requests.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

namespace bench {

using Json = nlohmann::json;

/// One call of the result does the case's work once; empty when this program has no such case or form.
std::function<void()> make_work(const Json& request);

/// Name and versions of the library under test.
Json about();

/// Called before a case's data is made: gives memory that earlier cases left back to the system.
void release_memory();

void set_threads(int threads);

/// Called once the case is warm, and again after it was timed: further fields of the answer.
void start_counting();
Json counted();

}  // namespace bench
