#include "distill/run/model_files.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>
#include <retort/framework/base/error.hpp>
#include <retort/framework/io/safetensors.hpp>
#include <retort/framework/io/sparse_teacher.hpp>
#include <string_view>
#include <vector>

namespace distill {
namespace {

using retort::IoError;
using retort::message;
using retort::Shape;
using retort::StateDict;
using retort::Tensor;

struct Layer {
  std::string name = {};
  Tensor weight = {};  ///< [out, in]
  Tensor bias = {};    ///< [out]; undefined if there is none
};

/// True if a sorts before b, with runs of digits compared as numbers.
bool natural_less(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  const auto take_number = [&](std::string_view& text) {
    std::size_t length = 0;
    while (length < text.size() && digit(text[length])) ++length;
    std::string_view number = text.substr(0, length);
    text.remove_prefix(length);
    number.remove_prefix(std::min(number.find_first_not_of('0'), number.size()));
    return number;
  };
  while (!a.empty() && !b.empty()) {
    if (digit(a.front()) && digit(b.front())) {
      const std::string_view x = take_number(a), y = take_number(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
    } else {
      if (a.front() != b.front()) return a.front() < b.front();
      a.remove_prefix(1);
      b.remove_prefix(1);
    }
  }
  return a.size() < b.size();
}

/// The name without its last part: "fc1" for "fc1.weight", and "" for "weight". Returns nothing if the name
/// does not end with `last`.
std::optional<std::string> before(const std::string& name, const std::string& last) {
  if (name == last) return std::string();
  if (!name.ends_with('.' + last)) return {};
  return name.substr(0, name.size() - last.size() - 1);
}

std::vector<Layer> layers_in(const std::string& path) {
  const StateDict entries = retort::load_safetensors(path);
  std::vector<Layer> layers;
  for (const auto& [name, tensor] : entries)
    if (const auto layer = before(name, "weight"); layer && tensor.dim() == 2)
      layers.push_back({*layer, tensor.to(retort::DType::float32), {}});
  for (const auto& [name, tensor] : entries) {
    if (before(name, "weight") && tensor.dim() == 2) continue;
    const auto owner = before(name, "bias");
    const auto layer =
        std::find_if(layers.begin(), layers.end(), [&](const Layer& l) { return owner && l.name == *owner; });
    if (layer == layers.end() || tensor.shape() != Shape{layer->weight.size(0)})
      throw IoError(
          message("{}: entry \"{}\" of shape {} is neither weight (out, in) nor bias (out) of a linear "
                  "layer; only such layers, with ReLU between them, make a network here",
                  path, name, tensor.shape()));
    layer->bias = tensor.to(retort::DType::float32);
  }
  return layers;
}

/// True if the widths of the layers match and connect `pixels` to `classes`.
bool fit(const std::vector<Layer>& layers, std::int64_t pixels, std::int64_t classes) {
  std::int64_t width = pixels;
  for (const Layer& layer : layers) {
    if (layer.weight.size(1) != width) return false;
    width = layer.weight.size(0);
  }
  return !layers.empty() && width == classes;
}

Tensor finite_logits(const StateDict& tensors, const std::string& name, const Shape& expected,
                     const std::string& path) {
  const Tensor& logits = tensors.at(name);
  if (logits.shape() != expected || logits.dtype() != retort::DType::float32)
    throw IoError(
        message("{}: \"{}\" is {} of shape {}, but these images and classes need float32 or float16 "
                "of shape {}",
                path, name, logits.dtype(), logits.shape(), expected));
  const auto values = logits.data<float>();
  if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
    throw IoError(message("{}: \"{}\" has values that are not finite", path, name));
  return logits;
}

void check_checksum(const retort::Metadata& metadata, const char* key, const retort::Dataset& data,
                    const std::string& path) {
  const auto found =
      std::find_if(metadata.begin(), metadata.end(), [&](const auto& pair) { return pair.first == key; });
  const std::string here = checksum_of(data);
  if (found == metadata.end())
    throw IoError(
        message("{}: its metadata has no \"{}\" of the data that its logits belong to; for the data "
                "given it would be {}",
                path, key, here));
  if (found->second != here)
    throw IoError(message("{}: its logits belong to other data: their {} is {}, that of the data given {}",
                          path, key, found->second, here));
}

}  // namespace

Mlp load_network(const std::string& path, std::int64_t pixels, std::int64_t classes) {
  const std::vector<Layer> in_file = layers_in(path);
  std::vector<Layer> layers = in_file;
  std::stable_sort(layers.begin(), layers.end(),
                   [](const Layer& a, const Layer& b) { return natural_less(a.name, b.name); });
  if (!fit(layers, pixels, classes)) {
    std::string found;
    for (const Layer& layer : layers)
      found += message("{}{} {}-{}", found.empty() ? "" : ", ", layer.name, layer.weight.size(1),
                       layer.weight.size(0));
    if (!fit(in_file, pixels, classes))
      throw IoError(message("{}: its layers ({}) do not lead from {} pixels to {} classes", path,
                            found.empty() ? "there is none" : found, pixels, classes));
    layers = in_file;
  }
  std::vector<std::int64_t> sizes = {pixels};
  for (const Layer& layer : layers) sizes.push_back(layer.weight.size(0));
  Mlp model(sizes, 0);
  StateDict state = model.state_dict();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    state[message("layers.{}.weight", i)] = layers[i].weight;
    state[message("layers.{}.bias", i)] =
        layers[i].bias.defined() ? layers[i].bias : retort::zeros({layers[i].weight.size(0)});
  }
  model.load_state_dict(state);
  model.eval();
  return model;
}

void save_logits(const std::string& path, const TeacherLogits& logits, const Data& data) {
  StateDict tensors = {{"logits", logits.train}};
  retort::Metadata metadata = {{"checksum", checksum_of(data.train)},
                               {"rows", std::to_string(logits.train.size(0))}};
  if (logits.test.defined()) {
    tensors["test_logits"] = logits.test;
    metadata.emplace_back("test_checksum", checksum_of(data.test));
  }
  retort::save_safetensors(path, tensors, metadata);
}

TeacherLogits load_logits(const std::string& path, const Data& data) {
  for (const retort::SafetensorsEntry& entry : retort::safetensors_entries(path))
    if (entry.dtype != "F32" && entry.dtype != "F16")
      throw IoError(
          message("{}: \"{}\" is of type {}; logits are F32 or F16", path, entry.name, entry.dtype));
  retort::Metadata metadata;
  const StateDict tensors = retort::load_safetensors(path, &metadata);
  if (!tensors.contains("logits"))
    throw IoError(message("{}: holds no \"logits\"; train-teacher --save-logits writes such a file", path));
  check_checksum(metadata, "checksum", data.train, path);
  TeacherLogits logits = {finite_logits(tensors, "logits", {data.train.size(), data.classes}, path), {}};
  if (tensors.contains("test_logits")) {
    check_checksum(metadata, "test_checksum", data.test, path);
    logits.test = finite_logits(tensors, "test_logits", {data.test.size(), data.classes}, path);
  }
  return logits;
}

bool is_sparse_teacher(const std::string& path) {
  const auto entries = retort::safetensors_entries(path);
  return std::any_of(entries.begin(), entries.end(),
                     [](const auto& entry) { return entry.name == "indices"; });
}

void save_sparse_answers(const std::string& path, const retort::SparseTeacher& teacher, const Data& data) {
  retort::save_sparse_teacher(path, teacher, {{"checksum", checksum_of(data.train)}});
}

retort::SparseTeacher load_sparse_answers(const std::string& path, const Data& data, const Options& options) {
  require_plain(options, path);
  retort::Metadata metadata;
  retort::SparseTeacher teacher = retort::load_sparse_teacher(path, &metadata);
  check_checksum(metadata, "checksum", data.train, path);
  const std::int64_t kept = teacher.indices.size(-1);
  if (teacher.classes != data.classes || teacher.indices.shape() != Shape{data.train.size(), kept})
    throw IoError(message("{}: has answers {} of {} classes, but the data has {} training images of {}", path,
                          teacher.indices.shape(), teacher.classes, data.train.size(), data.classes));
  if (options.top_k > 0 && options.top_k != kept)
    throw retort::ValueError(message("--top-k is {}, but {} keeps {} {}", options.top_k, path, kept,
                                     kept == 1 ? "class" : "classes"));
  if (options.temperature != teacher.temperature)
    throw retort::ValueError(message("--temperature is {}, but the answers in {} have the temperature {}",
                                     options.temperature, path, teacher.temperature));
  return teacher;
}

}  // namespace distill
