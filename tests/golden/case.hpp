// One golden case, as SCHEMA.md describes it, without the JSON library.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace retort::golden {

using NamedTensors = std::map<std::string, Tensor>;

/// A scalar argument: null, a flag, a number, a text or a list of numbers.
using Argument = std::variant<std::monostate, bool, double, std::string, std::vector<double>>;

/// The arguments of a case by name; those of a nested object as "optim.lr". A list of objects is its length,
/// and those of its objects are "groups.0.lr".
class Arguments {
 public:
  void set(std::string name, Argument value) { values_[std::move(name)] = std::move(value); }
  /// True if the argument is given and not null.
  bool has(const std::string& name) const;
  bool is_text(const std::string& name) const;
  double number(const std::string& name, double otherwise) const { return get(name, otherwise); }
  std::int64_t integer(const std::string& name, std::int64_t otherwise) const;
  bool flag(const std::string& name, bool otherwise) const { return get(name, otherwise); }
  std::string text(const std::string& name, std::string otherwise) const {
    return get(name, std::move(otherwise));
  }
  /// A list, or one number as a list of one; empty when absent.
  std::vector<std::int64_t> integers(const std::string& name) const;

  template <class T>
  T get(const std::string& name, T otherwise) const {
    const auto found = values_.find(name);
    if (found == values_.end() || std::holds_alternative<std::monostate>(found->second)) return otherwise;
    return std::get<T>(found->second);
  }

 private:
  std::map<std::string, Argument> values_;
};

struct Case {
  std::string name, op, dtype;
  std::vector<std::string> tags;
  Arguments args;
  NamedTensors inputs;
  std::vector<std::string> differentiable;
  NamedTensors outputs, aux, cotangents, grads;
  NamedTensors double_v, double_grads, double_cotangent_grads;
  std::vector<std::string> warnings;
  std::string error;       ///< its kind; empty when the call must succeed
  std::string error_type;  ///< the type of the second part
  double rtol = 0, atol = 0;

  bool tagged(const std::string& tag) const;
};

/// The cases of tests/golden/<family>.json.
std::vector<Case> load_cases(const std::string& family);

}  // namespace retort::golden
