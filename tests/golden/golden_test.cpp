// Every case of tests/golden/*.json against the public interface: values, gradients, second derivatives,
// warnings, errors and trajectories, at the tolerance that the case states.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "amend.hpp"
#include "case.hpp"
#include "operations.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"

namespace {

using namespace retort;
using golden::Case;
using golden::Form;
using golden::NamedTensors;
using golden::Results;

/// Empty if equal; otherwise describes the first difference.
std::string difference(const Tensor& got, const Tensor& want, const Case& golden) {
  std::ostringstream text;
  text.precision(17);
  if (!got.defined()) return "is undefined";
  if (got.shape() != want.shape()) {
    text << "has shape " << got.shape() << " instead of " << want.shape();
  } else if (got.dtype() != want.dtype()) {
    text << "is " << name(got.dtype()) << " instead of " << name(want.dtype());
  } else {
    const std::vector<double> a = got.values<double>(), b = want.values<double>();
    for (std::size_t i = 0; i < a.size(); ++i) {
      const bool equal = std::isnan(b[i]) ? std::isnan(a[i])
                         : std::isinf(b[i])
                             ? a[i] == b[i]
                             : std::abs(a[i] - b[i]) <= golden.atol + golden.rtol * std::abs(b[i]);
      if (!equal) {
        text << "[" << i << "] is " << a[i] << " instead of " << b[i] << " (off by " << a[i] - b[i] << ")";
        break;
      }
    }
  }
  return text.str();
}

std::string differences(const NamedTensors& got, const NamedTensors& want, const char* what,
                        const Case& golden) {
  for (const auto& [name, tensor] : want) {
    const auto found = got.find(name);
    const std::string text = found == got.end() ? "is missing" : difference(found->second, tensor, golden);
    if (!text.empty()) return std::string(what) + " " + name + " " + text;
  }
  return {};
}

/// Leaves of their own, so that nothing is shared between the calls of one case.
NamedTensors fresh_inputs(const Case& golden, bool with_gradients) {
  NamedTensors inputs;
  for (const auto& [name, tensor] : golden.inputs) inputs[name] = tensor.clone();
  if (with_gradients)
    for (const std::string& name : golden.differentiable) inputs.at(name).set_requires_grad();
  return inputs;
}

class Warnings {
 public:
  Warnings() {
    previous_ = set_warning_handler([this](std::string_view text) { texts_.emplace_back(text); });
  }
  ~Warnings() { set_warning_handler(previous_); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  /// The golden files' kinds, in order. The warning about inputs that are not log-probabilities has no kind
  /// there.
  std::vector<std::string> kinds() const {
    std::vector<std::string> result;
    for (const std::string& text : texts_) {
      if (text.find("log-probabilities") != std::string::npos) continue;
      if (text.find("deprecated") != std::string::npos) {
        result.push_back("legacy_args_deprecated");
      } else if (text.find("batchmean") != std::string::npos) {
        result.push_back("mean_is_not_batchmean");
      } else {
        result.push_back(text);
      }
    }
    return result;
  }

 private:
  WarningHandler previous_;
  std::vector<std::string> texts_;
};

std::string joined(const std::vector<std::string>& items) {
  std::string text = "[";
  for (const std::string& item : items) text += (text.size() > 1 ? ", " : "") + item;
  return text + "]";
}

/// The gradients of a call by input name; zeros where nothing flowed.
NamedTensors gradients(const Case& golden, const Results& results, const NamedTensors& inputs,
                       const NamedTensors& cotangents, bool create_graph) {
  Tensors outputs, upstream, wanted;
  for (const auto& [name, cotangent] : cotangents) {
    if (!results.outputs.at(name).requires_grad()) continue;
    outputs.push_back(results.outputs.at(name));
    upstream.push_back(cotangent);
  }
  for (const std::string& name : golden.differentiable) wanted.push_back(inputs.at(name));
  Tensors found(wanted.size());
  if (!outputs.empty()) {
    found =
        grad(outputs, wanted, {.grad_outputs = upstream, .create_graph = create_graph, .allow_unused = true});
  }
  NamedTensors result;
  for (std::size_t i = 0; i < wanted.size(); ++i)
    result[golden.differentiable[i]] = found[i].defined() ? found[i] : zeros_like(wanted[i]);
  return result;
}

/// d(sum_k sum(grad_k · v_k)) with respect to inputs and cotangents.
std::string check_second_order(const Case& golden, const NamedTensors& grads, const NamedTensors& inputs,
                               const NamedTensors& cotangents) {
  Tensors outputs, upstream, wanted;
  for (const auto& [name, v] : golden.double_v) {
    if (!grads.at(name).requires_grad()) continue;
    outputs.push_back(grads.at(name));
    upstream.push_back(v);
  }
  for (const auto& item : golden.double_grads) wanted.push_back(inputs.at(item.first));
  for (const auto& item : golden.double_cotangent_grads) wanted.push_back(cotangents.at(item.first));
  Tensors found(wanted.size());
  if (!outputs.empty()) found = grad(outputs, wanted, {.grad_outputs = upstream, .allow_unused = true});
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (!found[i].defined()) found[i] = zeros_like(wanted[i]);
  NamedTensors by_input, by_cotangent;
  std::size_t i = 0;
  for (const auto& item : golden.double_grads) by_input[item.first] = found[i++];
  for (const auto& item : golden.double_cotangent_grads) by_cotangent[item.first] = found[i++];
  std::string text = differences(by_input, golden.double_grads, "second derivative for", golden);
  if (text.empty())
    text = differences(by_cotangent, golden.double_cotangent_grads, "second derivative for the cotangent of",
                       golden);
  return text;
}

std::string check_error(const Case& golden, const Form& form) {
  std::string thrown = "nothing", text;
  try {
    form.call(golden.args, fresh_inputs(golden, true));
  } catch (const ShapeError& error) {
    thrown = "ShapeError", text = error.what();
  } catch (const TypeError&) {
    thrown = "TypeError";
  } catch (const ValueError&) {
    thrown = "ValueError";
  } catch (const IndexError&) {
    thrown = "IndexError";
  }
  static const std::map<std::string, std::string> types{
      {"shape_mismatch", "ShapeError"},        {"batch_mismatch", "ShapeError"},
      {"weight_size", "ShapeError"},           {"integral_input", "TypeError"},
      {"invalid_reduction", "ValueError"},     {"mean_of_nothing", "ValueError"},
      {"label_smoothing_range", "ValueError"}, {"ignore_index_with_prob_target", "ValueError"},
      {"dim_out_of_range", "IndexError"},      {"target_out_of_bounds", "IndexError"}};
  // The second part names the type itself; Error is any of them.
  const std::string& type = golden.error_type.empty() ? types.at(golden.error) : golden.error_type;
  if (thrown != type && (type != "Error" || thrown == "nothing")) return golden.error + " threw " + thrown;
  if (golden.error == "shape_mismatch" || golden.error == "batch_mismatch") {
    for (const auto& [name, tensor] : golden.inputs)
      if (name != "bias" && text.find(to_string(tensor.shape())) == std::string::npos)
        return "the ShapeError does not print the shape of " + name + ": " + text;
  }
  return {};
}

/// Empty if the form returns all results of the case; otherwise describes the first difference.
std::string check(const Case& golden, const Form& form) {
  if (!golden.error.empty()) return check_error(golden, form);
  if (!golden.cotangents.empty()) {  // values alone, with nothing recorded
    const Warnings unheard;
    const Results results = no_grad([&] { return form.call(golden.args, fresh_inputs(golden, true)); });
    const std::string text =
        differences(results.outputs, golden.outputs, "without recording: output", golden);
    if (!text.empty()) return text;
  }
  {  // the fast rules, and the warnings of a first call
    const Warnings warnings;
    const NamedTensors inputs = fresh_inputs(golden, true);
    const Results results = form.call(golden.args, inputs);
    if (warnings.kinds() != golden.warnings)
      return "warns " + joined(warnings.kinds()) + " instead of " + joined(golden.warnings);
    std::string text = differences(results.outputs, golden.outputs, "output", golden);
    if (text.empty() && form.gives_aux) text = differences(results.aux, golden.aux, "further result", golden);
    if (text.empty() && !golden.grads.empty())
      text = differences(gradients(golden, results, inputs, golden.cotangents, false), golden.grads,
                         "gradient for", golden);
    if (!text.empty()) return text;
  }
  if (golden.grads.empty()) return {};
  // the recorded rules and their derivatives
  const Warnings unheard;
  const NamedTensors inputs = fresh_inputs(golden, true);
  NamedTensors cotangents;
  for (const auto& [name, tensor] : golden.cotangents) cotangents[name] = tensor.clone().set_requires_grad();
  const Results results = form.call(golden.args, inputs);
  const NamedTensors grads = gradients(golden, results, inputs, cotangents, true);
  std::string text = differences(grads, golden.grads, "recorded gradient for", golden);
  if (text.empty() && !golden.double_v.empty()) text = check_second_order(golden, grads, inputs, cotangents);
  return text;
}

struct Count {
  std::int64_t passed = 0, failed = 0, skipped = 0;
};
std::ostream& operator<<(std::ostream& stream, const Count& count) {
  return stream << count.passed << " passed, " << count.failed << " failed, " << count.skipped << " skipped";
}

/// Returns true if the case passed in every public form of its operation.
bool passes(const Case& golden) {
  const std::vector<Form> forms = golden::forms_of(golden.op);
  bool all = !forms.empty();
  if (forms.empty()) BOOST_ERROR(golden.op << ": no operation of that name");
  for (const Form& form : forms) {
    std::string text;
    const std::int64_t nodes = live_nodes();
    try {
      text = check(golden, form);
    } catch (const std::exception& error) {
      text = std::string("threw ") + error.what();
    }
    if (text.empty() && live_nodes() != nodes) text = "leaves graph nodes alive";
    if (!text.empty()) BOOST_ERROR(golden.op << " " << golden.name << " (" << form.name << "): " << text);
    all = all && text.empty();
  }
  return all;
}

Count total;
std::map<std::string, std::int64_t> amended, skipped;

void run_family(const std::string& family) {
  Count count;
  std::vector<Case> cases = golden::load_cases(family);
  BOOST_REQUIRE(!cases.empty());
  for (Case& golden : cases) {
    const golden::Amendment amendment = golden::amend(golden);
    if (amendment.skip) {
      ++count.skipped;
      ++skipped[amendment.reason];
      continue;
    }
    if (!amendment.reason.empty()) ++amended[amendment.reason];
    ++(passes(golden) ? count.passed : count.failed);
  }
  std::cout << "golden " << family << ": " << count << "\n";
  total.passed += count.passed;
  total.failed += count.failed;
  total.skipped += count.skipped;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(golden_cases)

BOOST_AUTO_TEST_CASE(kl_div) { run_family("kl_div"); }
BOOST_AUTO_TEST_CASE(log_softmax) { run_family("log_softmax"); }
BOOST_AUTO_TEST_CASE(softmax) { run_family("softmax"); }
BOOST_AUTO_TEST_CASE(linear) { run_family("linear"); }
BOOST_AUTO_TEST_CASE(nll_loss) { run_family("nll_loss"); }
BOOST_AUTO_TEST_CASE(cross_entropy) { run_family("cross_entropy"); }
BOOST_AUTO_TEST_CASE(mse_loss) { run_family("mse_loss"); }
BOOST_AUTO_TEST_CASE(distillation) { run_family("distillation"); }
BOOST_AUTO_TEST_CASE(elementwise) { run_family("elementwise"); }
BOOST_AUTO_TEST_CASE(optim) { run_family("optim"); }
BOOST_AUTO_TEST_CASE(ops2) { run_family("ops2"); }
BOOST_AUTO_TEST_CASE(divergences) { run_family("divergences"); }
BOOST_AUTO_TEST_CASE(norms) { run_family("norms"); }
BOOST_AUTO_TEST_CASE(distill2) { run_family("distill2"); }
BOOST_AUTO_TEST_CASE(optim2) { run_family("optim2"); }
BOOST_AUTO_TEST_CASE(losses2) { run_family("losses2"); }
BOOST_AUTO_TEST_CASE(attention) { run_family("attention"); }
BOOST_AUTO_TEST_CASE(recurrent) { run_family("recurrent"); }
BOOST_AUTO_TEST_CASE(convolutions) { run_family("convolutions"); }
BOOST_AUTO_TEST_CASE(mobile) { run_family("mobile"); }

BOOST_AUTO_TEST_CASE(summary) {
  std::cout << "golden, all families: " << total << "\n";
  for (const auto& [reason, count] : amended)
    std::cout << "  " << count << " not as the oracle: " << reason << "\n";
  for (const auto& [reason, count] : skipped) std::cout << "  " << count << " skipped: " << reason << "\n";
  BOOST_TEST(total.failed == 0);
}

BOOST_AUTO_TEST_SUITE_END()
