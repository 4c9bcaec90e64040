// Normalisation, convolution and pooling.
#include "operations.hpp"
#include "retort/retort.hpp"

namespace retort::golden {

std::vector<Form> forms_of(const std::string& op) {
  for (const auto part : {tensor_operation, loss_operation, network_operation, optimizer_operation}) {
    std::vector<Form> forms = part(op);
    if (!forms.empty()) return forms;
  }
  return {};
}

std::vector<Form> network_operation(const std::string&) { return {}; }

}  // namespace retort::golden
