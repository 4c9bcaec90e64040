// The drivers of the op table: each runs over every row and every sample of it.
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <ostream>

#include "op_cases.hpp"

namespace retort::tests {

std::ostream& operator<<(std::ostream& stream, const OpCase& row) { return stream << row.title(); }

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> rows = [] {
    std::vector<OpCase> all;
    for (const auto& part :
         {elementwise_cases(), reduction_cases(), shape_cases(), array_cases(), product_cases(),
          network_cases(), loss_cases(), toolbox_cases(), pair_loss_cases(), sequence_cases()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return rows;
}

namespace {

namespace data = boost::unit_test::data;

bool close(double got, double want, double relative, double absolute) {
  if (std::isnan(want)) return std::isnan(got);
  if (std::isinf(want)) return got == want;
  return std::abs(got - want) <= absolute + relative * std::abs(want);
}

void check_equal(const Tensor& got, const Tensor& want, double relative, double absolute,
                 const std::string& what) {
  BOOST_REQUIRE_MESSAGE(got.defined(), what << " is undefined");
  BOOST_REQUIRE_MESSAGE(got.shape() == want.shape(),
                        what << " has shape " << got.shape() << " instead of " << want.shape());
  const Doubles a = got.values<double>(), b = want.values<double>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (close(a[i], b[i], relative, absolute)) continue;
    BOOST_ERROR(what << ": element " << i << " of " << got.shape() << " is " << a[i] << " instead of "
                     << b[i]);
    return;
  }
}

/// Fills the pool with buffers of the sizes that a call will request, full of NaN: reveals elements that a
/// kernel does not write.
void poison_the_pool(const Tensors& inputs) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (int copies = 0; copies < 3; ++copies) {
    Tensors held;
    for (const Tensor& input : inputs)
      for (int i = 0; i < 4; ++i) held.push_back(full(input.shape(), nan, DType::float64));
    for (int i = 0; i < 4; ++i) held.push_back(full({}, nan, DType::float64));
  }
}

bool is_float(const Tensor& tensor) { return is_floating_point(tensor.dtype()); }

/// Copies of the arguments; those of a float type require a gradient.
Tensors leaves(const Tensors& inputs, std::optional<DType> dtype = {}) {
  Tensors copies;
  for (const Tensor& input : inputs) {
    const Tensor copy = is_float(input) && dtype ? input.to(*dtype).clone() : input.clone();
    copies.push_back(is_float(copy) ? copy.set_requires_grad() : copy);
  }
  return copies;
}

Tensors floats_of(const Tensors& inputs) {
  Tensors result;
  for (const Tensor& input : inputs)
    if (is_float(input)) result.push_back(input);
  return result;
}

/// Gradients for the float inputs, zeros where nothing flowed.
Tensors gradients(const Tensor& y, const Tensors& inputs, const Tensor& cotangent, bool create_graph) {
  Tensors result = floats_of(inputs);
  if (y.requires_grad())
    result =
        grad({y}, result, {.grad_outputs = {cotangent}, .create_graph = create_graph, .allow_unused = true});
  const Tensors wanted = floats_of(inputs);
  for (std::size_t i = 0; i < result.size(); ++i)
    if (!y.requires_grad() || !result[i].defined()) result[i] = zeros_like(wanted[i]);
  return result;
}

Tensor cotangent_for(const Tensor& y, std::uint64_t seed = 99) {
  return uniform(y.shape(), seed, -1, 1).to(y.dtype());
}

double dot(const Tensor& a, const Tensor& b) {
  const Doubles x = a.values<double>(), y = b.values<double>();
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// The arguments moved by `step` along a direction for each float one.
Tensors moved(const Tensors& inputs, const Tensors& directions, double step) {
  Tensors result;
  std::size_t next = 0;
  for (const Tensor& input : inputs) {
    if (!is_float(input)) {
      result.push_back(input);
      continue;
    }
    const Tensor& direction = directions[next++];
    result.push_back(each(input, direction, [=](double x, double d) { return x + step * d; }));
  }
  return result;
}

Tensors directions_for(const Tensors& inputs) {
  Tensors directions;
  for (const Tensor& input : floats_of(inputs))
    directions.push_back(uniform(input.shape(), 7 + directions.size(), -1, 1));
  return directions;
}

/// d/ds of f(inputs + s · direction) by central differences, of fourth order.
template <class F>
double slope(F&& f, const Tensors& inputs, const Tensors& directions) {
  const double h = 1e-4;
  const auto pair = [&](double step) {
    return f(moved(inputs, directions, step)) - f(moved(inputs, directions, -step));
  };
  return (8 * pair(h) - pair(2 * h)) / (12 * h);
}

/// The derivative that the engine gives along the directions against the slope of the value.
void check_by_direction(const OpCase& row, const Tensors& sample) {
  const Tensors directions = directions_for(sample);
  const Tensor v = cotangent_for(row.call(sample));
  const auto value = [&](const Tensors& inputs) { return dot(row.call(inputs), v); };
  const Tensors inputs = leaves(sample);
  for (const bool create_graph : {false, true}) {
    const Tensors found = gradients(row.call(inputs), inputs, v, create_graph);
    double analytic = 0;
    for (std::size_t i = 0; i < found.size(); ++i) analytic += dot(found[i], directions[i]);
    const double numeric = slope(value, sample, directions);
    BOOST_CHECK_MESSAGE(close(analytic, numeric, 1e-6, 1e-6),
                        row.title() << ": along a direction the derivative is " << analytic << ", the slope "
                                    << numeric << (create_graph ? " (recorded)" : ""));
  }
}

/// The same one order up: the derivative of sum_k sum(grad_k · w_k).
void check_second_by_direction(const OpCase& row, const Tensors& sample) {
  const Tensors directions = directions_for(sample);
  const Tensor v = cotangent_for(row.call(sample));
  const auto weights = [&](const Tensors& grads) {
    Tensors result;
    for (const Tensor& one : grads) result.push_back(cotangent_for(one, 55 + result.size()));
    return result;
  };
  const auto first_order = [&](const Tensors& at_inputs) {
    const Tensors inputs = leaves(at_inputs);
    const Tensors found = gradients(row.call(inputs), inputs, v, false);
    const Tensors w = weights(found);
    double sum = 0;
    for (std::size_t i = 0; i < found.size(); ++i) sum += dot(found[i], w[i]);
    return sum;
  };
  const Tensors inputs = leaves(sample);
  const Tensors first = gradients(row.call(inputs), inputs, v, true);
  const Tensors w = weights(first), wanted = floats_of(inputs);
  Tensors outputs, upstream;
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (!first[i].requires_grad()) continue;
    outputs.push_back(first[i]);
    upstream.push_back(w[i]);
  }
  Tensors second(wanted.size());
  if (!outputs.empty()) second = grad(outputs, wanted, {.grad_outputs = upstream, .allow_unused = true});
  double analytic = 0;
  for (std::size_t i = 0; i < second.size(); ++i)
    if (second[i].defined()) analytic += dot(second[i], directions[i]);
  const double numeric = slope(first_order, sample, directions);
  BOOST_CHECK_MESSAGE(close(analytic, numeric, 1e-6, 1e-6),
                      row.title() << ": along a direction the second derivative is " << analytic
                                  << ", the slope " << numeric);
}

bool is_empty(const Tensors& inputs) {
  for (const Tensor& input : inputs)
    if (input.size() == 0) return true;
  return false;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(op_table)

BOOST_AUTO_TEST_CASE(every_operation_is_tried_on_one_element_and_on_none) {
  std::map<std::string, std::pair<bool, bool>> tried;  // with one element, and empty
  for (const OpCase& row : op_cases()) {
    auto& [one, none] = tried[row.name];
    for (const Tensors& sample : row.samples) {
      one = one || sample[0].size() == 1;
      none = none || is_empty(sample);
    }
  }
  for (const auto& [name, both] : tried) {
    BOOST_CHECK_MESSAGE(both.first, name << " has no sample of one element");
    BOOST_CHECK_MESSAGE(both.second, name << " has no sample without an element");
  }
}

BOOST_DATA_TEST_CASE(value_is_the_reference, data::make(op_cases()), row) {
  for (const Tensors& sample : row.samples) {
    const Tensor want = row.reference(sample);
    poison_the_pool(sample);
    const Tensor got = row.call(sample);
    BOOST_TEST((got.dtype() == (row.differentiable ? DType::float64 : DType::int64)));
    check_equal(got, want, 1e-12, 1e-13, row.title());
    BOOST_TEST(!got.requires_grad());
    poison_the_pool(sample);
    check_equal(row.call(leaves(sample)), want, 1e-12, 1e-13, row.title() + ", recorded");
  }
}

BOOST_DATA_TEST_CASE(gradients_are_those_of_central_differences, data::make(op_cases()), row) {
  if (!row.differentiable) return;
  for (const Tensors& sample : row.samples) {
    const GradcheckReport first = gradcheck(row.call, leaves(sample));
    BOOST_CHECK_MESSAGE(first, row.title() << ": " << first);
    if (is_empty(sample)) continue;  // the mean of an empty tensor has no derivative
    const GradcheckReport second = gradgradcheck(row.call, leaves(sample));
    BOOST_CHECK_MESSAGE(second, row.title() << ": " << second);
  }
}

BOOST_DATA_TEST_CASE(gradients_along_a_direction, data::make(op_cases()), row) {
  if (!row.differentiable) return;
  for (const Tensors& sample : row.samples) {
    if (is_empty(sample)) continue;
    check_by_direction(row, sample);
    check_second_by_direction(row, sample);
  }
}

BOOST_DATA_TEST_CASE(one_tensor_in_two_places_gets_both_shares, data::make(op_cases()), row) {
  if (!row.differentiable) return;
  for (const Tensors& sample : row.samples) {
    for (std::size_t i = 0; i < sample.size(); ++i) {
      for (std::size_t j = i + 1; j < sample.size(); ++j) {
        if (!is_float(sample[i]) || !is_float(sample[j]) || sample[i].shape() != sample[j].shape()) continue;
        Tensors apart = leaves(sample), together = leaves(sample);
        apart[j] = apart[i].detach().clone().set_requires_grad();
        together[j] = together[i];
        const Tensor v = cotangent_for(row.call(apart));
        for (const bool create_graph : {false, true}) {
          const GradOptions options{.grad_outputs = {v}, .create_graph = create_graph, .allow_unused = true};
          Tensors two = grad({row.call(apart)}, {apart[i], apart[j]}, options);
          for (Tensor& share : two)
            if (!share.defined()) share = zeros_like(apart[i]);
          const Tensor one = grad({row.call(together)}, {together[i]}, options)[0];
          check_equal(
              one, each(two[0], two[1], [](double a, double b) { return a + b; }), 1e-11, 1e-12,
              row.title() + ", one tensor in places " + std::to_string(i) + " and " + std::to_string(j));
        }
      }
    }
  }
}

BOOST_DATA_TEST_CASE(float32_agrees_with_float64, data::make(op_cases()), row) {
  if (!row.differentiable) return;
  for (const Tensors& sample : row.samples) {
    const Tensors singles = leaves(sample, DType::float32);
    // The float64 side sees the numbers that float32 can hold.
    Tensors rounded;
    for (const Tensor& single : singles)
      rounded.push_back(is_float(single) ? single.detach().to(DType::float64) : single);
    const Tensors doubles = leaves(rounded);
    const Tensor got = row.call(singles), want = row.call(doubles);
    BOOST_TEST((got.dtype() == DType::float32));
    const double tolerance = row.float32_tolerance;
    check_equal(got, want, tolerance, tolerance, row.title() + " in float32");
    const Tensor v = cotangent_for(got);
    const Tensors found = gradients(got, singles, v, false);
    const Tensors expected = gradients(want, doubles, v.to(DType::float64), false);
    for (std::size_t i = 0; i < found.size(); ++i) {
      BOOST_TEST((found[i].dtype() == DType::float32));
      check_equal(found[i], expected[i], 5 * tolerance, 5 * tolerance, row.title() + ", gradient in float32");
    }
  }
}

BOOST_DATA_TEST_CASE(mixed_float_types_promote_and_gradients_come_back_in_their_own, data::make(op_cases()),
                     row) {
  if (!row.differentiable || !row.promotes) return;
  for (const Tensors& sample : row.samples) {
    if (floats_of(sample).size() < 2) continue;
    for (std::size_t single = 0; single < sample.size(); ++single) {
      if (!is_float(sample[single])) continue;
      Tensors inputs = leaves(sample);
      inputs[single] = sample[single].to(DType::float32).set_requires_grad();
      Tensors rounded = leaves(sample);
      rounded[single] = sample[single].to(DType::float32).to(DType::float64).set_requires_grad();
      const Tensor got = row.call(inputs), want = row.call(rounded);
      BOOST_TEST((got.dtype() == DType::float64));
      check_equal(got, want, row.mixed_tolerance, row.mixed_tolerance, row.title() + " of mixed types");
      const Tensor v = cotangent_for(got);
      const Tensors found = gradients(got, inputs, v, false), expected = gradients(want, rounded, v, false);
      const Tensors wanted = floats_of(inputs);
      for (std::size_t i = 0; i < found.size(); ++i) {
        BOOST_TEST((found[i].dtype() == wanted[i].dtype()));
        check_equal(found[i], expected[i], 1e-6, 1e-6, row.title() + ", gradient of mixed types");
      }
    }
  }
}

BOOST_DATA_TEST_CASE(nothing_is_recorded_where_recording_is_off, data::make(op_cases()), row) {
  const std::int64_t before = live_nodes();
  for (const Tensors& sample : row.samples) {
    const Tensors inputs = leaves(sample);
    Tensors results;  // of operations themselves
    for (const Tensor& input : inputs) results.push_back(is_float(input) ? input * 1.0 : input);
    const Tensor y = no_grad([&] { return row.call(results); });
    BOOST_TEST(y.is_leaf());
    BOOST_TEST(!y.requires_grad());
    if (row.differentiable) continue;
    BOOST_TEST(!row.call(inputs).requires_grad());
  }
  BOOST_TEST(live_nodes() == before);
}

BOOST_DATA_TEST_CASE(arguments_that_do_not_fit_are_refused_by_name, data::make(op_cases()), row) {
  for (const Refused& refused : row.refused) {
    std::string thrown = "nothing", text;
    try {
      row.call(leaves(refused.inputs));
    } catch (const ShapeError& error) {
      thrown = "ShapeError", text = error.what();
    } catch (const TypeError& error) {
      thrown = "TypeError", text = error.what();
    } catch (const ValueError& error) {
      thrown = "ValueError", text = error.what();
    } catch (const IndexError& error) {
      thrown = "IndexError", text = error.what();
    }
    const char* const expected[] = {"ShapeError", "TypeError", "ValueError", "IndexError"};
    BOOST_CHECK_MESSAGE(thrown == expected[static_cast<int>(refused.with)],
                        row.title() << " of shape " << refused.inputs[0].shape() << " threw " << thrown
                                    << " (" << text << ") instead of "
                                    << expected[static_cast<int>(refused.with)]);
    BOOST_CHECK_MESSAGE(text.find(": ") != std::string::npos, row.title()
                                                                  << ": names no operation: " << text);
    if (refused.with != Refusal::shape) continue;
    for (std::size_t i = 0; i < std::min<std::size_t>(2, refused.inputs.size()); ++i) {
      const std::string shape = to_string(refused.inputs[i].shape());
      BOOST_CHECK_MESSAGE(text.find(shape) != std::string::npos,
                          row.title() << ": does not print " << shape << ": " << text);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
