#include "retort/framework/io/sparse_teacher.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double rounding = 2e-6;  // of a row's sum, from float32 log-probabilities

template <class T>
std::string text_of(T number) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr};
}

/// Parses the whole text of a key as a number.
template <class T>
std::optional<T> number_of(const Metadata& metadata, std::string_view key) {
  for (const auto& [name, text] : metadata) {
    if (name != key) continue;
    T number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size()) return number;
  }
  return std::nullopt;
}

double mass(const double* log_probs, Index kept) {
  double sum = 0;
  for (Index k = 0; k < kept; ++k) sum += std::exp(log_probs[k]);
  return sum;
}

/// Returns the first reason why the teacher is invalid, or an empty text. `slack` is the allowed deviation of
/// a row's sum from 1; the sum includes the tail if defined, and otherwise may be smaller.
std::string fault_of(const SparseTeacher& teacher, double slack) {
  if (teacher.classes < 1 || teacher.classes > std::numeric_limits<std::int32_t>::max())
    return message("the number of classes is {}; it must be between 1 and 2147483647", teacher.classes);
  if (!(teacher.temperature > 0) || std::isinf(teacher.temperature))
    return message("the temperature is {}; it must be above 0 and finite", teacher.temperature);
  const Tensor &indices = teacher.indices, &log_probs = teacher.log_probs;
  if (indices.shape() != log_probs.shape() || indices.dim() == 0)
    return message("indices have shape {} but log_probs {}; both must be (..., K)", indices.shape(),
                   log_probs.shape());
  const Index kept = indices.size(-1);
  if (kept < 1 || kept > teacher.classes)
    return message("it keeps {} per row; that must be between 1 and {}, the number of classes",
                   detail::counted(kept, "class"), teacher.classes);
  const auto values = log_probs.values<double>(),
             tails = teacher.log_tail.defined() ? teacher.log_tail.values<double>() : std::vector<double>();
  const auto classes = indices.data<std::int64_t>();
  const Index rows = indices.size() / kept;
  std::vector<Index> sorted(static_cast<std::size_t>(kept));
  for (Index i = 0; i < rows; ++i) {
    const Index* const row = classes.data() + i * kept;
    std::partial_sort_copy(row, row + kept, sorted.begin(), sorted.end());
    if (sorted.front() < 0 || sorted.back() >= teacher.classes)
      return message("the class {} in row {} is out of range [0, {})",
                     sorted.front() < 0 ? sorted.front() : sorted.back(), i, teacher.classes);
    if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end())
      return message("the class {} is in row {} twice", *twice, i);
    const double* const log_p = values.data() + i * kept;
    for (Index k = 0; k < kept; ++k)
      if (!(log_p[k] <= 0)) return message("the log-probability {} in row {} is not at most 0", log_p[k], i);
    const double sum = mass(log_p, kept) + (tails.empty() ? 0 : std::exp(tails[static_cast<std::size_t>(i)]));
    const bool complete = !tails.empty() || kept == teacher.classes;
    if (!(sum <= 1 + slack && (!complete || sum >= 1 - slack)))
      return message("the probabilities in row {} add up to {} instead of {}1", i, sum,
                     complete ? "" : "at most ");
  }
  return {};
}

/// Sets the tails to the remaining probability of the rows.
void complete(SparseTeacher& teacher) {
  const Index kept = teacher.indices.size(-1);
  std::vector<double> values = teacher.log_probs.values<double>(), tails;
  bool changed = false;
  for (double* row = values.data(); row != values.data() + values.size(); row += kept) {
    const double sum = mass(row, kept);
    const bool whole = kept == teacher.classes || 1 - sum <= rounding;
    tails.push_back(whole ? -infinity : std::log1p(-sum));
    if (!whole || std::abs(1 - sum) <= rounding) continue;
    changed = true;
    for (Index k = 0; k < kept; ++k) row[k] = std::min(0.0, row[k] - std::log(sum));
  }
  if (changed) teacher.log_probs = tensor(values, teacher.log_probs.shape()).to(DType::float32);
  Shape rows = teacher.indices.shape();
  rows.pop_back();
  teacher.log_tail = tensor(tails, rows).to(DType::float32);
}

/// Calls f, and lets an error of a safetensors file name `operation` in place of the function that found it.
template <class F>
auto as_part_of(const char* operation, F f) {
  const auto renamed = [&](const Error& error) {
    const std::string_view text = error.what();
    return message("{}{}", operation, text.substr(std::min(text.find(':'), text.size())));
  };
  try {
    return f();
  } catch (const IoError& error) {
    throw IoError(renamed(error), error.path(), error.error_code());
  } catch (const ValueError& error) {
    throw ValueError(renamed(error));
  }
}

}  // namespace

void save_sparse_teacher(const std::string& path, const SparseTeacher& teacher, const Metadata& metadata,
                         FloatStorage floats) {
  const char* const operation = "save_sparse_teacher";
  for (const auto& [name, given] : {std::pair<const char*, const Tensor&>("indices", teacher.indices),
                                    {"log_probs", teacher.log_probs},
                                    {"log_tail", teacher.log_tail}})
    if (!given.defined()) throw ValueError(message("{}: {} is missing", operation, name));
  if (teacher.indices.dtype() != DType::int64 || !is_floating_point(teacher.log_probs.dtype()) ||
      !is_floating_point(teacher.log_tail.dtype()))
    throw TypeError(
        message("{}: indices, log_probs and log_tail are {}, {} and {}; they must be int64 and "
                "float32 or float64",
                operation, teacher.indices.dtype(), teacher.log_probs.dtype(), teacher.log_tail.dtype()));
  if (floats == FloatStorage::bfloat16)
    throw ValueError(
        message("{}: bfloat16 is too coarse for log-probabilities; use as_is or float16", operation));
  Shape rows = teacher.indices.shape();
  if (!rows.empty()) rows.pop_back();
  if (teacher.log_tail.shape() != rows)
    throw ShapeError(message("{}: log_tail has shape {}, but the indices have rows {}", operation,
                             teacher.log_tail.shape(), rows));
  if (const std::string fault = fault_of(teacher, 1e-3); !fault.empty())
    throw ValueError(message("{}: {}", operation, fault));
  Metadata all = {{"classes", text_of(teacher.classes)}, {"temperature", text_of(teacher.temperature)}};
  for (const auto& [key, value] : metadata) {
    if (key == "classes" || key == "temperature")
      throw ValueError(
          message("{}: the metadata has the key '{}', which the teacher itself sets", operation, key));
    all.emplace_back(key, value);
  }
  Tensor log_probs = teacher.log_probs.detach().to(DType::float32);
  // If nothing remains, float16 rounds upwards: a sum below 1 would be read as a nonexistent tail.
  if (floats == FloatStorage::float16)
    log_probs = log_probs * where(equal(unsqueeze(teacher.log_tail.detach(), -1), -infinity), 1 - 0x1p-11,
                                  ones({1}, DType::float32));
  as_part_of(operation, [&] {
    save_safetensors(path, {{"indices", teacher.indices}, {"log_probs", log_probs}}, all,
                     {.floats = floats, .integers = IntegerStorage::int32});
  });
}

SparseTeacher load_sparse_teacher(const std::string& path, Metadata* metadata) {
  const char* const operation = "load_sparse_teacher";
  const auto refuse_if = [&](const std::string& fault) {
    if (!fault.empty()) throw IoError(message("{}: {}: {}", operation, path, fault), path);
  };
  bool halves = false, has_indices = false, has_log_probs = false;
  for (const SafetensorsEntry& entry : as_part_of(operation, [&] { return safetensors_entries(path); })) {
    has_indices = has_indices || entry.name == "indices";
    has_log_probs = has_log_probs || entry.name == "log_probs";
    halves = halves || (entry.name == "log_probs" && entry.dtype == "F16");
    if (entry.name == "indices" && entry.dtype != "I32")
      refuse_if(message("indices have the dtype {}; expected I32", entry.dtype));
    if (entry.name == "log_probs" && entry.dtype != "F32" && entry.dtype != "F16")
      refuse_if(message("log_probs have the dtype {}; expected F32 or F16", entry.dtype));
  }
  if (!has_indices || !has_log_probs)
    refuse_if(message("has no entry '{}'; was it written by save_sparse_teacher?",
                      has_indices ? "log_probs" : "indices"));
  const StateDict tensors = as_part_of(operation, [&] {
    return load_safetensors(path, {"indices", "log_probs"});
  });
  Metadata pairs = as_part_of(operation, [&] { return load_safetensors_metadata(path); });
  const auto classes = number_of<std::int64_t>(pairs, "classes");
  const auto temperature = number_of<double>(pairs, "temperature");
  if (!classes || !temperature)
    refuse_if(message("its metadata has no number '{}'; was it written by save_sparse_teacher?",
                      classes ? "temperature" : "classes"));
  SparseTeacher teacher{.indices = tensors.at("indices"),
                        .log_probs = tensors.at("log_probs"),
                        .classes = *classes,
                        .temperature = *temperature};
  refuse_if(fault_of(teacher, halves ? 3e-2 : 1e-4));
  complete(teacher);
  std::erase_if(pairs,
                [](const auto& pair) { return pair.first == "classes" || pair.first == "temperature"; });
  if (metadata != nullptr) *metadata = std::move(pairs);
  return teacher;
}

}  // namespace retort
