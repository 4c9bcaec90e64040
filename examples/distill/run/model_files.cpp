#include "distill/run/model_files.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <retort/framework/base/error.hpp>
#include <retort/framework/io/safetensors.hpp>
#include <retort/framework/io/sparse_teacher.hpp>
#include <utility>
#include <vector>

namespace distill {
namespace {

using retort::IoError;
using retort::message;
using retort::Shape;
using retort::StateDict;
using retort::Tensor;

/// A linear layer of a file, by the prefix of its entries: "fc1." for "fc1.weight".
struct Layer {
  std::string prefix = {};
  std::int64_t in = 0, out = 0;
};

std::vector<Layer> layers_in(const StateDict& entries, const std::string& path) {
  std::vector<Layer> layers;
  for (const auto& [name, tensor] : entries) {
    const std::string prefix = name.substr(0, name.rfind('.') + 1), last = name.substr(prefix.size());
    const auto weight = entries.find(prefix + "weight");
    const bool linear = weight != entries.end() && weight->second.dim() == 2;
    if (linear && last == "weight")
      layers.push_back({prefix, tensor.size(1), tensor.size(0)});
    else if (!linear || last != "bias" || tensor.shape() != Shape{weight->second.size(0)})
      throw IoError(
          message("{}: entry \"{}\" of shape {} is neither weight (out, in) nor bias (out) of a linear "
                  "layer; only such layers, with ReLU between them, make a network here",
                  path, name, tensor.shape()));
  }
  return layers;
}

/// True if the widths of the layers match and connect `pixels` to `classes`.
bool fit(const std::vector<Layer>& layers, std::int64_t pixels, std::int64_t classes) {
  std::int64_t width = pixels;
  for (const Layer& layer : layers)
    if (std::exchange(width, layer.out) != layer.in) return false;
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
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
    throw IoError(message("{}: \"{}\" has values that are not finite", path, name));
  return logits;
}

void check_checksum(const retort::Metadata& metadata, const char* key, const retort::Dataset& data,
                    const std::string& path) {
  const auto found = std::ranges::find(metadata, key, &std::pair<std::string, std::string>::first);
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
  const StateDict entries = retort::load_safetensors(path);
  const std::vector<Layer> in_file = layers_in(entries, path);
  std::vector<Layer> layers = in_file;
  std::ranges::stable_sort(layers, [](const Layer& a, const Layer& b) {
    return ::strverscmp(a.prefix.c_str(), b.prefix.c_str()) < 0;  // 2 before 10
  });
  if (!fit(layers, pixels, classes)) {
    std::string found;
    for (const auto& [prefix, in, out] : layers)
      found += message("{}{} {}-{}", found.empty() ? "" : ", ", prefix.substr(0, prefix.rfind('.')), in, out);
    if (!fit(in_file, pixels, classes))
      throw IoError(message("{}: its layers ({}) do not lead from {} pixels to {} classes", path,
                            found.empty() ? "there is none" : found, pixels, classes));
    layers = in_file;
  }
  std::vector<std::int64_t> sizes = {pixels};
  for (const Layer& layer : layers) sizes.push_back(layer.out);
  Mlp model(sizes, 0);
  StateDict state;
  for (std::size_t i = 0; i < layers.size(); ++i)
    for (const auto& [last, missing] :
         {std::pair("weight", Tensor()), {"bias", retort::zeros({layers[i].out})}}) {
      const auto found = entries.find(layers[i].prefix + last);
      state[message("layers.{}.{}", i, last)] =
          (found == entries.end() ? missing : found->second).to(retort::DType::float32);
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
