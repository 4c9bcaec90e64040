#include "amend.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace retort::golden {
namespace {

Tensor like(const Tensor& model, const std::vector<double>& values) {
  if (model.dtype() == DType::float64) return tensor(values, model.shape());
  return tensor(std::vector<float>(values.begin(), values.end()), model.shape());
}

/// Puts replacement[i] where the oracle has NaN.
void replace_nan(Tensor& golden, const std::vector<double>& replacement) {
  std::vector<double> values = golden.values<double>();
  for (std::size_t i = 0; i < values.size(); ++i)
    if (std::isnan(values[i])) values[i] = replacement[i];
  golden = like(golden, values);
}

bool holds_nan(const NamedTensors& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const auto& item) {
    const std::vector<double> values = item.second.template values<double>();
    return std::any_of(values.begin(), values.end(), [](double value) { return std::isnan(value); });
  });
}

/// A term of the divergence and its derivatives by the table "KLDivLoss, exactly".
struct Term {
  double value, for_input, for_target;
};
Term kl_term(double x, double t, bool log_target) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double probability = log_target ? std::exp(t) : t;
  if (t == (log_target ? -std::numeric_limits<double>::infinity() : 0.0)) {
    return std::isnan(x) ? Term{nan, nan, nan} : Term{0, 0, 0};
  }
  if (log_target) return {probability * (t - x), -probability, probability * (t - x + 1)};
  return {t * (std::log(t) - x), -t, std::log(t) + 1 - x};
}

void amend_kl_edges(Case& golden) {
  const std::vector<double> x = golden.inputs.at("input").values<double>();
  const std::vector<double> t = golden.inputs.at("target").values<double>();
  const bool log_target = golden.args.flag("log_target", false);
  const std::string reduction = golden.args.text("reduction", "mean");
  const bool reduced = reduction != "none";
  const double divisor = reduction == "mean"        ? static_cast<double>(x.size())
                         : reduction == "batchmean" ? static_cast<double>(golden.inputs.at("input").size(0))
                                                    : 1.0;
  const std::vector<double> g = golden.cotangents.at("out").values<double>();
  std::vector<double> terms, for_input, for_target;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Term term = kl_term(x[i], t[i], log_target);
    const double factor = g[reduced ? 0 : i] / divisor;
    terms.push_back(term.value / divisor);
    for_input.push_back(factor * term.for_input);
    for_target.push_back(factor * term.for_target);
  }
  double total = 0;
  for (const double term : terms) total += term;
  replace_nan(golden.outputs.at("out"), reduced ? std::vector<double>{total} : terms);
  if (golden.grads.count("input")) replace_nan(golden.grads.at("input"), for_input);
  if (golden.grads.count("target")) replace_nan(golden.grads.at("target"), for_target);
}

void scale(NamedTensors& tensors, double factor) {
  for (auto& item : tensors) {
    std::vector<double> values = item.second.values<double>();
    for (double& value : values) value *= factor;
    item.second = like(item.second, values);
  }
}

/// For results of float32 arithmetic, whatever their type: one rounding may differ.
Amendment at_float32_tolerance(Case& golden, const char* reason) {
  golden.rtol = 2e-5;
  golden.atol = 2e-6;
  return {reason};
}

Amendment amend_kl_div(Case& golden) {
  const Tensor& input = golden.inputs.at("input");
  const std::string reduction = golden.args.text("reduction", "mean");
  const bool deprecated = golden.args.has("size_average") || golden.args.has("reduce");
  if (!golden.error.empty()) return {};
  if (input.shape() != golden.inputs.at("target").shape()) {
    golden.error = "shape_mismatch";
    return {"kl_div does not broadcast: ShapeError"};
  }
  if (reduction == "elementwise_mean") {
    golden.error = "invalid_reduction";
    return {"the reduction name elementwise_mean is not taken over: ValueError"};
  }
  if (input.size() == 0 && (reduction == "mean" || reduction == "batchmean")) {
    golden.error = "mean_of_nothing";
    return {"kl_div: mean and batchmean of no element: ValueError"};
  }
  if (golden.inputs.at("target").dtype() == DType::float32 && input.dtype() == DType::float64)
    return at_float32_tolerance(
        golden,
        "kl_div of mixed types is computed in float64; the oracle took the logarithm (exponential) "
        "of a float32 target in float32, so float32's tolerance applies");
  if (deprecated && golden.op == "kl_div") {
    bool differs = false;
    if (reduction == "batchmean") {
      const double rows = static_cast<double>(input.size(0));
      for (NamedTensors* part :
           {&golden.outputs, &golden.grads, &golden.double_grads, &golden.double_cotangent_grads})
        scale(*part, rows);
      differs = true;
    }
    if (golden.args.flag("size_average", true) && golden.args.flag("reduce", true) &&
        golden.warnings.size() == 1) {
      golden.warnings.push_back("mean_is_not_batchmean");
      differs = true;
    }
    if (differs) return {"kl_div under deprecated arguments does just what KLDivLoss does"};
    return {};
  }
  if (golden.tagged("edge") && (holds_nan(golden.outputs) || holds_nan(golden.grads))) {
    Case before = golden;
    amend_kl_edges(golden);
    const auto differs = [](const NamedTensors& a, const NamedTensors& b) {
      for (const auto& item : a) {
        const auto left = item.second.values<double>(), right = b.at(item.first).values<double>();
        for (std::size_t i = 0; i < left.size(); ++i)
          if (std::isnan(left[i]) != std::isnan(right[i])) return true;
      }
      return false;
    };
    if (differs(before.outputs, golden.outputs) || differs(before.grads, golden.grads))
      return {"kl_div: a target of 0 (log: -inf) or inf has the closed form's value and gradients, not NaN"};
  }
  return {};
}

/// The teacher's gradient where its softmax underflows to 0: such a class takes no part.
void amend_teacher_gradient(Case& golden) {
  const Tensor& student = golden.inputs.at("student");
  const std::vector<double> s = student.values<double>(), t = golden.inputs.at("teacher").values<double>();
  const double temperature = golden.args.number("T", 1), alpha = golden.args.number("alpha", 1);
  const auto rows = static_cast<std::size_t>(student.size(0)),
             classes = static_cast<std::size_t>(student.size(1));
  const auto log_softmax = [&](const double* logits) {
    std::vector<double> result(classes);
    const double most = *std::max_element(logits, logits + classes) / temperature;
    double total = 0;
    for (std::size_t j = 0; j < classes; ++j) total += std::exp(logits[j] / temperature - most);
    for (std::size_t j = 0; j < classes; ++j) result[j] = logits[j] / temperature - most - std::log(total);
    return result;
  };
  std::vector<double> gradient;
  const double g =
      golden.cotangents.at("out").item<double>() * alpha * temperature / static_cast<double>(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    const std::vector<double> x = log_softmax(&s[i * classes]), log_p = log_softmax(&t[i * classes]);
    double divergence = 0;
    for (std::size_t j = 0; j < classes; ++j) divergence += kl_term(x[j], std::exp(log_p[j]), false).value;
    for (std::size_t j = 0; j < classes; ++j) {
      const double p = std::exp(log_p[j]);
      gradient.push_back(p == 0 ? 0 : g * p * (log_p[j] - x[j] - divergence));
    }
  }
  replace_nan(golden.grads.at("teacher"), gradient);
}

Amendment amend_distillation(Case& golden) {
  if (golden.inputs.at("student").size() == 0) {
    for (auto& item : golden.outputs) item.second = like(item.second, {0.0});
    golden.aux.clear();
    return {"distillation: no row left gives 0"};
  }
  if (golden.grads.count("teacher") && holds_nan(golden.grads)) {
    amend_teacher_gradient(golden);
    return {"distillation: a class whose softmax underflows to 0 takes no part in the teacher's gradient"};
  }
  return {};
}

}  // namespace

Amendment amend(Case& golden) {
  const auto warns = [&](const char* kind) {
    return std::find(golden.warnings.begin(), golden.warnings.end(), kind) != golden.warnings.end();
  };
  if (warns("implicit_dim_deprecated")) return {"softmax and log_softmax have no implicit dim", true};
  if (warns("target_size_differs")) {
    golden.error = "shape_mismatch";
    return {"mse_loss does not broadcast: ShapeError"};
  }
  if (golden.tagged("f32_math"))
    return at_float32_tolerance(golden, "cast to float32 and computed there: float32's tolerance applies");
  if (golden.op == "kl_div" || golden.op == "KLDivLoss") return amend_kl_div(golden);
  if (golden.op == "distillation") return amend_distillation(golden);
  return {};
}

}  // namespace retort::golden
