// The losses, through their functions and their classes.
#include "operations.hpp"
#include "retort/losses/cross_entropy_loss.hpp"
#include "retort/losses/distillation_loss.hpp"
#include "retort/losses/kl_div_loss.hpp"
#include "retort/losses/linear_distillation_loss.hpp"
#include "retort/losses/mse_loss.hpp"
#include "retort/losses/nll_loss.hpp"
#include "retort/retort.hpp"

namespace retort::golden {
namespace {

std::optional<bool> optional_flag(const Arguments& args, const char* name) {
  if (!args.has(name)) return std::nullopt;
  return args.flag(name, true);
}

Tensor optional_tensor(const NamedTensors& in, const char* name) {
  const auto found = in.find(name);
  return found == in.end() ? Tensor() : found->second;
}

/// The options that the classification and regression losses share.
template <class Options>
Options reduction_options(const Arguments& args) {
  Options options;
  options.reduction = reduction_from_string(args.text("reduction", "mean"));
  if constexpr (requires { options.size_average; }) {
    options.size_average = optional_flag(args, "size_average");
    options.reduce = optional_flag(args, "reduce");
  }
  return options;
}

template <class Options>
Options class_options(const Arguments& args, const NamedTensors& in) {
  Options options = reduction_options<Options>(args);
  options.weight = optional_tensor(in, "weight");
  options.ignore_index = args.integer("ignore_index", options.ignore_index);
  return options;
}

KLDivLossOptions kl_options(const Arguments& args) {
  auto options = reduction_options<KLDivLossOptions>(args);
  options.log_target = args.flag("log_target", false);
  return options;
}

CrossEntropyLossOptions cross_entropy_options(const Arguments& args, const NamedTensors& in) {
  auto options = class_options<CrossEntropyLossOptions>(args, in);
  options.label_smoothing = args.number("label_smoothing", 0);
  return options;
}

/// Both forms of a loss: `function(input, target, options)` and `Class(options)(input, target)`.
template <class Class, class MakeOptions, class Function>
std::vector<Form> both_forms(MakeOptions make_options, Function function) {
  return {{"function",
           [=](const Arguments& args, const NamedTensors& in) {
             return Results{
                 .outputs = {{"out", function(in.at("input"), in.at("target"), make_options(args, in))}}};
           }},
          {"class", [=](const Arguments& args, const NamedTensors& in) {
             Class loss(make_options(args, in));
             return Results{.outputs = {{"out", loss(in.at("input"), in.at("target"))}}};
           }}};
}

BCEWithLogitsLossOptions bce_options(const Arguments& args, const NamedTensors& in) {
  auto options = reduction_options<BCEWithLogitsLossOptions>(args);
  options.weight = optional_tensor(in, "weight");
  options.pos_weight = optional_tensor(in, "pos_weight");
  return options;
}

/// Both forms of a loss of three tensors.
template <class Class, class Options, class Function>
std::vector<Form> both_forms_of_three(const char* a, const char* b, const char* c, Function function,
                                      Options (*make_options)(const Arguments&)) {
  return {{"function",
           [=](const Arguments& args, const NamedTensors& in) {
             return Results{.outputs = {{"out", function(in.at(a), in.at(b), in.at(c), make_options(args))}}};
           }},
          {"class", [=](const Arguments& args, const NamedTensors& in) {
             return Results{.outputs = {{"out", Class(make_options(args))(in.at(a), in.at(b), in.at(c))}}};
           }}};
}

CosineEmbeddingLossOptions cosine_options(const Arguments& args) {
  auto options = reduction_options<CosineEmbeddingLossOptions>(args);
  options.margin = args.number("margin", options.margin);
  return options;
}

TripletMarginLossOptions triplet_options(const Arguments& args) {
  auto options = reduction_options<TripletMarginLossOptions>(args);
  options.margin = args.number("margin", options.margin);
  options.p = args.number("p", options.p);
  options.eps = args.number("eps", options.eps);
  options.swap = args.flag("swap", options.swap);
  return options;
}

DistillationLossOptions distillation_options(const Arguments& args) {
  return {.temperature = args.number("T", 1),
          .alpha = args.number("alpha", 1),
          .detach_teacher = args.flag("detach_teacher", false)};
}

Results fused_distillation(const Arguments& args, const NamedTensors& in) {
  DistillationLoss loss(distillation_options(args));
  return {.outputs = {
              {"out",
               loss({.student = in.at("student"), .teacher = in.at("teacher"), .labels = in.at("labels")})}}};
}

DistillationLossOptions divergence_options(const Arguments& args) {
  const DistillationLossOptions defaults;
  return {.temperature = args.number("temperature", defaults.temperature),
          .alpha = args.number("alpha", defaults.alpha),
          .reduction = reduction_from_string(args.text("reduction", "batchmean")),
          .detach_teacher = args.flag("detach_teacher", true),
          .divergence = divergence_from_string(args.text("divergence", "forward_kl")),
          .beta = args.number("beta", defaults.beta),
          .standardize = args.flag("standardize", false)};
}

DistillationInputs distillation_inputs(const NamedTensors& in) {
  return {.student = optional_tensor(in, "student"),
          .teacher = optional_tensor(in, "teacher"),
          .labels = optional_tensor(in, "labels"),
          .mask = optional_tensor(in, "mask"),
          .weight = optional_tensor(in, "weight")};
}

Results linear_distillation(const Arguments& args, const NamedTensors& in) {
  return {
      .outputs = {{"out", linear_distillation_loss({.hidden = optional_tensor(in, "hidden"),
                                                    .weight = optional_tensor(in, "weight"),
                                                    .bias = optional_tensor(in, "bias"),
                                                    .teacher_logits = optional_tensor(in, "teacher_logits"),
                                                    .teacher_hidden = optional_tensor(in, "teacher_hidden"),
                                                    .teacher_weight = optional_tensor(in, "teacher_weight"),
                                                    .labels = optional_tensor(in, "labels"),
                                                    .mask = optional_tensor(in, "mask"),
                                                    .row_weight = optional_tensor(in, "row_weight")},
                                                   divergence_options(args))}}};
}

/// The same by plain losses, which give the further results of the golden cases.
Results composed_distillation(const Arguments& args, const NamedTensors& in) {
  const DistillationLossOptions options = distillation_options(args);
  const double temperature = options.temperature;
  const Tensor student = in.at("student");
  if (student.size() == 0) return fused_distillation(args, in);  // kl_div refuses the mean of an empty batch
  const Tensor teacher = options.detach_teacher ? in.at("teacher").detach() : in.at("teacher");
  const Tensor kd = kl_div(log_softmax(student / temperature, 1), softmax(teacher / temperature, 1),
                           {.reduction = Reduction::batchmean});
  const Tensor ce = cross_entropy(student, in.at("labels"));
  const double alpha = options.alpha;
  return {.outputs = {{"out", alpha * temperature * temperature * kd + (1 - alpha) * ce}},
          .aux = {{"kd", kd}, {"ce", ce}}};
}

}  // namespace

std::vector<Form> loss_operation(const std::string& op) {
  using A = const Arguments&;
  using In = const NamedTensors&;
  using T = const Tensor&;
  if (op == "kl_div" || op == "KLDivLoss")
    return both_forms<KLDivLoss>([](A args, In) { return kl_options(args); },
                                 [](T x, T t, const KLDivLossOptions& o) { return kl_div(x, t, o); });
  if (op == "nll_loss")
    return both_forms<NLLLoss>([](A args, In in) { return class_options<NLLLossOptions>(args, in); },
                               [](T x, T t, const NLLLossOptions& o) { return nll_loss(x, t, o); });
  if (op == "cross_entropy")
    return both_forms<CrossEntropyLoss>(
        [](A args, In in) { return cross_entropy_options(args, in); },
        [](T x, T t, const CrossEntropyLossOptions& o) { return cross_entropy(x, t, o); });
  if (op == "mse_loss")
    return both_forms<MSELoss>([](A args, In) { return reduction_options<MSELossOptions>(args); },
                               [](T x, T t, const MSELossOptions& o) { return mse_loss(x, t, o); });
  if (op == "l1_loss")
    return both_forms<L1Loss>([](A args, In) { return reduction_options<L1LossOptions>(args); },
                              [](T x, T t, const L1LossOptions& o) { return l1_loss(x, t, o); });
  if (op == "smooth_l1_loss")
    return both_forms<SmoothL1Loss>(
        [](A args, In) {
          auto options = reduction_options<SmoothL1LossOptions>(args);
          options.beta = args.number("beta", options.beta);
          return options;
        },
        [](T x, T t, const SmoothL1LossOptions& o) { return smooth_l1_loss(x, t, o); });
  if (op == "huber_loss")
    return both_forms<HuberLoss>(
        [](A args, In) {
          auto options = reduction_options<HuberLossOptions>(args);
          options.delta = args.number("delta", options.delta);
          return options;
        },
        [](T x, T t, const HuberLossOptions& o) { return huber_loss(x, t, o); });
  if (op == "binary_cross_entropy_with_logits")
    return both_forms<BCEWithLogitsLoss>(bce_options, [](T x, T t, const BCEWithLogitsLossOptions& o) {
      return binary_cross_entropy_with_logits(x, t, o);
    });
  if (op == "cosine_embedding_loss")
    return both_forms_of_three<CosineEmbeddingLoss>("input1", "input2", "target", cosine_embedding_loss,
                                                    cosine_options);
  if (op == "triplet_margin_loss")
    return both_forms_of_three<TripletMarginLoss>("anchor", "positive", "negative", triplet_margin_loss,
                                                  triplet_options);
  if (op == "distillation")
    return {{"fused", fused_distillation, false}, {"composed", composed_distillation}};
  if (op == "distillation_loss")
    return {{"function",
             [](A args, In in) {
               return Results{.outputs = {{"out", distillation_loss(distillation_inputs(in),
                                                                    divergence_options(args))}}};
             }},
            {"class", [](A args, In in) {
               const DistillationLoss loss(divergence_options(args));
               return Results{.outputs = {{"out", loss(distillation_inputs(in))}}};
             }}};
  if (op == "linear_distillation_loss") return {{"function", linear_distillation}};
  return {};
}

}  // namespace retort::golden
