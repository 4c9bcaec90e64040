// The golden cases' operations, mapped to the public interface.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "case.hpp"

namespace retort::golden {

struct Results {
  NamedTensors outputs = {};
  NamedTensors aux = {};
};

/// One way to call an operation: "function", "class", "fused", …
struct Form {
  std::string name;
  std::function<Results(const Arguments&, const NamedTensors&)> call;
  bool gives_aux = true;  ///< false: the golden case's further results never exist in this form
};

/// Every public way to call that operation of the golden files; empty for one that is unknown.
std::vector<Form> forms_of(const std::string& op);

/// The parts of forms_of(), by file.
std::vector<Form> tensor_operation(const std::string& op);
std::vector<Form> array_operation(const std::string& op);
std::vector<Form> loss_operation(const std::string& op);
std::vector<Form> network_operation(const std::string& op);
std::vector<Form> sequence_operation(const std::string& op);
std::vector<Form> optimizer_operation(const std::string& op);
std::vector<Form> distillation_operation(const std::string& op);

}  // namespace retort::golden
