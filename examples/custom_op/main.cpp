// A new operation, a new module and a new loss, added from outside the library. The derivatives of each are
// checked: gradcheck compares the first derivatives with finite differences, gradgradcheck the second ones.
#include <iostream>
#include <retort/retort.hpp>
#include <string>

namespace rt = retort;

// A new operation: smooth_relu(x) = log(1 + e^x), a smooth relu.
//
// The expression log(exp(x) + 1.0) would need no rule, but it overflows for x = 1000. This operation computes
// a value that does not overflow, without history (detach). Its rule returns the gradient of x for the
// gradient g of the result. The rule is composed of operations, so derivatives of all orders are available.
rt::Tensor smooth_relu(const rt::Tensor& x) {
  const rt::Tensor z = x.detach();
  return rt::record({.name = "smooth_relu",
                     .inputs = {x},
                     .value = rt::maximum(z, rt::zeros_like(z)) + rt::log(1.0 + rt::exp(-rt::abs(z))),
                     .vjp = [x](const rt::Tensor& g, rt::Needs) { return g * rt::sigmoid(x); }});
}

// A new module: y = value(x) · sigmoid(gate(x)), a linear layer with a learned gate. RETORT_MEMBERS names the
// parameters: "value.weight", "value.bias", "gate.weight", "gate.bias".
// (Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional networks", 2017.)
class GatedLinear : public rt::Module {
 public:
  GatedLinear(std::int64_t in, std::int64_t out) : value(in, out), gate(in, out) {}
  rt::Tensor operator()(const rt::Tensor& x) const { return value(x) * rt::sigmoid(gate(x)); }

  rt::Linear value, gate;
  RETORT_MEMBERS(value, gate)
};

// A new loss: the Jensen-Shannon divergence of student and teacher, KL(p ‖ m)/2 + KL(q ‖ m)/2 with
// m = (p + q)/2. It is symmetric and at most log 2. Takes logits [N, C] and returns the mean over the N rows.
rt::Tensor jensen_shannon(const rt::Tensor& student, const rt::Tensor& teacher) {
  const rt::Tensor p = rt::softmax(student, 1), q = rt::softmax(teacher, 1);
  const rt::Tensor log_m = rt::log((p + q) / 2.0);
  const rt::KLDivLossOptions batchmean{.reduction = rt::Reduction::batchmean};
  return (rt::kl_div(log_m, p, batchmean) + rt::kl_div(log_m, q, batchmean)) / 2.0;
}

// Checks first and second derivatives at the inputs and prints the reports. Returns true if both are correct.
bool check(const std::string& name, const rt::DifferentiableFunction& f, const rt::Tensors& inputs) {
  const rt::GradcheckReport first = rt::gradcheck(f, inputs);
  const rt::GradcheckReport second = rt::gradgradcheck(f, inputs);
  std::cout << name << "\n  first derivatives:  " << first << "\n  second derivatives: " << second << '\n';
  return first && second;
}

int main() {
  rt::manual_seed(0);
  bool passed = true;

  // Finite differences need float64. The value is also correct far from zero, where exp alone would overflow.
  const rt::Tensor x = rt::tensor({-30.0, -2.0, -0.1, 0.0, 0.5, 3.0, 30.0});
  passed &= check("smooth_relu", [](const rt::Tensors& in) { return smooth_relu(in[0]); }, {x});
  std::cout << "  smooth_relu(1000) = " << smooth_relu(rt::tensor({1000.0})).item<double>() << '\n';

  // A module has derivatives for its input and for each of its parameters, which gradcheck varies in place.
  GatedLinear layer(4, 3);
  layer.to(rt::DType::float64);
  rt::Tensors inputs = {rt::randn({5, 4}, rt::DType::float64).set_requires_grad()};
  for (const rt::Tensor& parameter : layer.parameters()) inputs.push_back(parameter);
  passed &= check(
      "GatedLinear", [&](const rt::Tensors& in) { return layer(in[0]); }, inputs);

  passed &= check("jensen_shannon", [](const rt::Tensors& in) { return jensen_shannon(in[0], in[1]); },
                  {rt::randn({6, 10}, rt::DType::float64), rt::randn({6, 10}, rt::DType::float64)});

  std::cout << (passed ? "all checks passed\n" : "a check FAILED\n");
  return passed ? 0 : 1;
}
