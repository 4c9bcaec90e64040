// The distillation toolbox: feature losses, decoupled and correlation losses, mixtures and sparse teachers.
#include "operations.hpp"
#include "retort/losses/decoupled_distillation_loss.hpp"
#include "retort/losses/dist_loss.hpp"
#include "retort/losses/feature_losses.hpp"
#include "retort/losses/sparse_distillation_loss.hpp"

namespace retort::golden {
namespace {

Tensor optional_tensor(const NamedTensors& in, const char* name) {
  const auto found = in.find(name);
  return found == in.end() ? Tensor() : found->second;
}

Results result(const Tensor& out) { return {.outputs = {{"out", out}}}; }

std::vector<Form> feature_loss(Tensor (*function)(const Tensor&, const Tensor&)) {
  return {{"function", [=](const Arguments&, const NamedTensors& in) {
             return result(function(in.at("student"), in.at("teacher")));
           }}};
}

/// Both forms of a loss: `function(inputs…, options)` and `Class(options)(inputs…)`.
template <class Class, class Function, class MakeOptions, class Call>
std::vector<Form> both_forms(Function function, MakeOptions options_of, Call call) {
  return {
      {"function",
       [=](const Arguments& args, const NamedTensors& in) {
         const auto options = options_of(args);
         return result(call(args, in, [&](const auto&... inputs) { return function(inputs..., options); }));
       }},
      {"class", [=](const Arguments& args, const NamedTensors& in) {
         return result(call(args, in, Class(options_of(args))));
       }}};
}

Reduction reduction_of(const Arguments& args) {
  return reduction_from_string(args.text("reduction", "batchmean"));
}

DecoupledDistillationLossOptions decoupled_options(const Arguments& args) {
  return {.temperature = args.number("temperature", 4),
          .alpha = args.number("alpha", 1),
          .beta = args.number("beta", 8),
          .reduction = reduction_of(args),
          .detach_teacher = args.flag("detach_teacher", true)};
}

DISTLossOptions dist_options(const Arguments& args) {
  return {.beta = args.number("beta", 1),
          .gamma = args.number("gamma", 1),
          .temperature = args.number("temperature", 1),
          .detach_teacher = args.flag("detach_teacher", true)};
}

SparseDistillationLossOptions sparse_options(const Arguments& args) {
  const std::string tail = args.text("tail", "bucket");
  return {.alpha = args.number("alpha", 1),
          .tail = tail == "drop"          ? Tail::drop
                  : tail == "renormalize" ? Tail::renormalize
                                          : Tail::bucket,
          .reduction = reduction_of(args)};
}

Results mixture(const Arguments& args, const NamedTensors& in) {
  Tensors teachers;
  for (std::size_t k = 0; k < in.size(); ++k) teachers.push_back(in.at("teacher" + std::to_string(k)));
  return result(
      mix_teachers(teachers, args.get("weights", std::vector<double>()), args.number("temperature", 1)));
}

Results sparsified(const Arguments& args, const NamedTensors& in) {
  const SparseTeacher teacher =
      sparse_teacher(in.at("teacher"), args.integer("k", 0), args.number("temperature", 1));
  return {.outputs = {{"indices", teacher.indices},
                      {"log_probs", teacher.log_probs},
                      {"log_tail", teacher.log_tail}}};
}

}  // namespace

std::vector<Form> distillation_operation(const std::string& op) {
  if (op == "attention_transfer_loss") return feature_loss(attention_transfer_loss);
  if (op == "similarity_preserving_loss") return feature_loss(similarity_preserving_loss);
  if (op == "relational_distance_loss") return feature_loss(relational_distance_loss);
  if (op == "relational_angle_loss") return feature_loss(relational_angle_loss);
  if (op == "mix_teachers") return {{"function", mixture}};
  if (op == "sparse_teacher") return {{"function", sparsified}};
  if (op == "decoupled_distillation_loss")
    return both_forms<DecoupledDistillationLoss>(
        decoupled_distillation_loss, decoupled_options,
        [](const Arguments&, const NamedTensors& in, const auto& loss) {
          return loss(DistillationInputs{.student = in.at("student"),
                                         .teacher = in.at("teacher"),
                                         .labels = optional_tensor(in, "labels"),
                                         .mask = optional_tensor(in, "mask"),
                                         .weight = optional_tensor(in, "weight")});
        });
  if (op == "dist_loss")
    return both_forms<DISTLoss>(dist_loss, dist_options,
                                [](const Arguments&, const NamedTensors& in, const auto& loss) {
                                  return loss(in.at("student"), in.at("teacher"));
                                });
  if (op == "sparse_distillation_loss")
    return both_forms<SparseDistillationLoss>(
        sparse_distillation_loss, sparse_options,
        [](const Arguments& args, const NamedTensors& in, const auto& loss) {
          return loss(SparseDistillationInputs{.student = in.at("student"),
                                               .teacher = {.indices = in.at("indices"),
                                                           .log_probs = in.at("log_probs"),
                                                           .log_tail = in.at("log_tail"),
                                                           .classes = args.integer("classes", 0),
                                                           .temperature = args.number("temperature", 1)},
                                               .labels = optional_tensor(in, "labels"),
                                               .mask = optional_tensor(in, "mask"),
                                               .weight = optional_tensor(in, "weight")});
        });
  return {};
}

}  // namespace retort::golden
