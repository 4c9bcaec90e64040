#include "case.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace retort::golden {
namespace {

using Json = nlohmann::json;

double number_from(const Json& json) {
  if (!json.is_string()) return json.get<double>();
  const std::string text = json.get<std::string>();
  const double infinity = std::numeric_limits<double>::infinity();
  return text == "nan" ? std::nan("") : text == "inf" ? infinity : -infinity;
}

template <class T>
Tensor tensor_of(const Json& data, const Shape& shape) {
  std::vector<T> values;
  values.reserve(data.size());
  for (const Json& item : data) values.push_back(static_cast<T>(number_from(item)));
  return tensor(values, shape);
}

Tensor tensor_from(const Json& json) {
  const Shape shape(json.at("shape").get<std::vector<std::int64_t>>());
  const std::string dtype = json.at("dtype");
  const Json& data = json.at("data");
  if (dtype == "float64") return tensor_of<double>(data, shape);
  if (dtype == "float32") return tensor_of<float>(data, shape);
  return tensor_of<std::int64_t>(data, shape);  // int64, and bool as 0 and 1
}

NamedTensors tensors_from(const Json& json, const char* key) {
  NamedTensors tensors;
  if (json.contains(key))
    for (const auto& item : json.at(key).items()) tensors[item.key()] = tensor_from(item.value());
  return tensors;
}

Argument argument_from(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) return json.get<std::vector<double>>();
  return std::monostate{};
}

void read_arguments(Arguments& args, const Json& json, const std::string& prefix) {
  for (const auto& item : json.items()) {
    const std::string name = prefix + item.key();
    const Json& value = item.value();
    if (value.is_object()) {
      read_arguments(args, value, name + ".");
    } else if (value.is_array() && !value.empty() && value[0].is_object()) {
      args.set(name, static_cast<double>(value.size()));
      for (std::size_t i = 0; i < value.size(); ++i)
        read_arguments(args, value[i], name + "." + std::to_string(i) + ".");
    } else {
      args.set(name, argument_from(item.value()));
    }
  }
}

Case case_from(const Json& json) {
  Case result;
  result.name = json.at("name");
  result.op = json.at("op");
  result.dtype = json.at("dtype");
  result.tags = json.at("tags").get<std::vector<std::string>>();
  read_arguments(result.args, json.at("args"), "");
  result.inputs = tensors_from(json, "inputs");
  result.differentiable = json.at("differentiable").get<std::vector<std::string>>();
  result.outputs = tensors_from(json, "outputs");
  result.aux = tensors_from(json, "aux");
  result.cotangents = tensors_from(json, "cotangents");
  result.grads = tensors_from(json, "grads");
  if (json.contains("double")) {
    const Json& second = json.at("double");
    result.double_v = tensors_from(second, "v");
    result.double_grads = tensors_from(second, "grads");
    result.double_cotangent_grads = tensors_from(second, "cotangent_grads");
  }
  if (json.contains("warnings")) result.warnings = json.at("warnings").get<std::vector<std::string>>();
  if (json.contains("error")) {
    result.error = json.at("error").at("kind");
    result.error_type = json.at("error").value("type", "");
  }
  if (json.contains("tol")) {
    result.rtol = json.at("tol").at("rtol");
    result.atol = json.at("tol").at("atol");
  }
  return result;
}

}  // namespace

bool Arguments::has(const std::string& name) const {
  const auto found = values_.find(name);
  return found != values_.end() && !std::holds_alternative<std::monostate>(found->second);
}

bool Arguments::is_text(const std::string& name) const {
  const auto found = values_.find(name);
  return found != values_.end() && std::holds_alternative<std::string>(found->second);
}

std::int64_t Arguments::integer(const std::string& name, std::int64_t otherwise) const {
  return static_cast<std::int64_t>(number(name, static_cast<double>(otherwise)));
}

std::vector<std::int64_t> Arguments::integers(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end() || std::holds_alternative<std::monostate>(found->second)) return {};
  if (const double* one = std::get_if<double>(&found->second)) return {static_cast<std::int64_t>(*one)};
  std::vector<std::int64_t> list;
  for (const double item : std::get<std::vector<double>>(found->second))
    list.push_back(static_cast<std::int64_t>(item));
  return list;
}

bool Case::tagged(const std::string& tag) const {
  return std::find(tags.begin(), tags.end(), tag) != tags.end();
}

std::vector<Case> load_cases(const std::string& family) {
  const std::filesystem::path path = std::filesystem::path(RETORT_GOLDEN_DIR) / (family + ".json");
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  const Json json = Json::parse(file);
  std::vector<Case> cases;
  for (const Json& item : json.at("cases")) cases.push_back(case_from(item));
  if (cases.size() != json.at("count").get<std::size_t>())
    throw std::runtime_error(path.string() + ": the number of cases is not what its count says");
  return cases;
}

}  // namespace retort::golden
