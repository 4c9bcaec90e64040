// Normalisation, convolution and pooling.
#include "operations.hpp"
#include "retort/framework/ops/conv.hpp"
#include "retort/framework/ops/norm.hpp"

namespace retort::golden {
namespace {

Tensor optional_tensor(const NamedTensors& in, const char* name) {
  const auto found = in.find(name);
  return found == in.end() ? Tensor() : found->second;
}

/// A number or [height, width]; `otherwise` when absent.
Size2d size_of(const Arguments& args, const char* name, std::int64_t otherwise) {
  const std::vector<std::int64_t> sizes = args.integers(name);
  if (sizes.empty()) return otherwise;
  return {sizes.front(), sizes.back()};
}

Results convolution(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", conv2d(in.at("input"), in.at("weight"), optional_tensor(in, "bias"),
                                     {.stride = size_of(args, "stride", 1),
                                      .padding = size_of(args, "padding", 0),
                                      .dilation = size_of(args, "dilation", 1),
                                      .groups = args.integer("groups", 1)})}}};
}

Results convolution_1d(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", conv1d(in.at("input"), in.at("weight"), optional_tensor(in, "bias"),
                                     {.stride = args.integer("stride", 1),
                                      .padding = args.integer("padding", 0),
                                      .dilation = args.integer("dilation", 1),
                                      .groups = args.integer("groups", 1)})}}};
}

Results transposed_convolution(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", conv_transpose2d(in.at("input"), in.at("weight"), optional_tensor(in, "bias"),
                                               {.stride = size_of(args, "stride", 1),
                                                .padding = size_of(args, "padding", 0),
                                                .output_padding = size_of(args, "output_padding", 0),
                                                .groups = args.integer("groups", 1),
                                                .dilation = size_of(args, "dilation", 1)})}}};
}

Results adaptive_avg_pooling(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", adaptive_avg_pool2d(in.at("input"), size_of(args, "size", 1))}}};
}

Results adaptive_max_pooling(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", adaptive_max_pool2d(in.at("input"), size_of(args, "size", 1))}}};
}

template <class Options>
Options window(const Arguments& args) {
  Options options;
  options.kernel_size = size_of(args, "kernel_size", 1);
  if (args.has("stride")) options.stride = size_of(args, "stride", 1);
  options.padding = size_of(args, "padding", 0);
  options.ceil_mode = args.flag("ceil_mode", false);
  return options;
}

Results max_pooling(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", max_pool2d(in.at("input"), window<MaxPool2dOptions>(args))}}};
}

Results avg_pooling(const Arguments& args, const NamedTensors& in) {
  auto options = window<AvgPool2dOptions>(args);
  options.count_include_pad = args.flag("count_include_pad", true);
  return {.outputs = {{"out", avg_pool2d(in.at("input"), options)}}};
}

template <class Options>
Options line(const Arguments& args) {
  Options options;
  options.kernel_size = args.integer("kernel_size", 1);
  if (args.has("stride")) options.stride = args.integer("stride", 1);
  options.padding = args.integer("padding", 0);
  options.ceil_mode = args.flag("ceil_mode", false);
  return options;
}

Results max_pooling_1d(const Arguments& args, const NamedTensors& in) {
  auto options = line<MaxPool1dOptions>(args);
  options.dilation = args.integer("dilation", 1);
  return {.outputs = {{"out", max_pool1d(in.at("input"), options)}}};
}

Results avg_pooling_1d(const Arguments& args, const NamedTensors& in) {
  auto options = line<AvgPool1dOptions>(args);
  options.count_include_pad = args.flag("count_include_pad", true);
  return {.outputs = {{"out", avg_pool1d(in.at("input"), options)}}};
}

Results layer_normalisation(const Arguments& args, const NamedTensors& in) {
  return {.outputs = {{"out", layer_norm(in.at("input"), Shape(args.integers("normalized_shape")),
                                         optional_tensor(in, "weight"), optional_tensor(in, "bias"),
                                         args.number("eps", 1e-5))}}};
}

Results batch_normalisation(const Arguments& args, const NamedTensors& in) {
  const Tensor mean = in.at("running_mean"), variance = in.at("running_var");
  const Tensor out =
      batch_norm(in.at("input"), mean, variance, optional_tensor(in, "weight"), optional_tensor(in, "bias"),
                 {.training = args.flag("training", false),
                  .momentum = args.number("momentum", 0.1),
                  .eps = args.number("eps", 1e-5)});
  return {.outputs = {{"out", out}}, .aux = {{"running_mean", mean}, {"running_var", variance}}};
}

Results rms_normalisation(const Arguments& args, const NamedTensors& in) {
  const std::optional<double> eps = args.has("eps") ? std::optional(args.number("eps", 0)) : std::nullopt;
  return {.outputs = {{"out", rms_norm(in.at("input"), Shape(args.integers("normalized_shape")),
                                       optional_tensor(in, "weight"), eps)}}};
}

Results group_normalisation(const Arguments& args, const NamedTensors& in) {
  return {
      .outputs = {{"out", group_norm(in.at("input"), args.integer("groups", 1), optional_tensor(in, "weight"),
                                     optional_tensor(in, "bias"), args.number("eps", 1e-5))}}};
}

}  // namespace

std::vector<Form> forms_of(const std::string& op) {
  for (const auto part : {tensor_operation, array_operation, loss_operation, network_operation,
                          sequence_operation, optimizer_operation, distillation_operation}) {
    std::vector<Form> forms = part(op);
    if (!forms.empty()) return forms;
  }
  return {};
}

std::vector<Form> network_operation(const std::string& op) {
  if (op == "conv2d") return {{"function", convolution}};
  if (op == "conv1d") return {{"function", convolution_1d}};
  if (op == "conv_transpose2d") return {{"function", transposed_convolution}};
  if (op == "adaptive_avg_pool2d") return {{"function", adaptive_avg_pooling}};
  if (op == "adaptive_max_pool2d") return {{"function", adaptive_max_pooling}};
  if (op == "max_pool1d") return {{"function", max_pooling_1d}};
  if (op == "avg_pool1d") return {{"function", avg_pooling_1d}};
  if (op == "max_pool2d") return {{"function", max_pooling}};
  if (op == "avg_pool2d") return {{"function", avg_pooling}};
  if (op == "layer_norm") return {{"function", layer_normalisation}};
  if (op == "rms_norm") return {{"function", rms_normalisation}};
  if (op == "group_norm") return {{"function", group_normalisation}};
  if (op == "batch_norm") return {{"function", batch_normalisation}};
  return {};
}

}  // namespace retort::golden
