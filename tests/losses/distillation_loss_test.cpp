// DistillationLoss: fused against composed, masks, labels, options, edges.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "framework/ops/references.hpp"
#include "retort/losses/linear_distillation_loss.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The definition in plain losses; rows that the mask leaves out are 0.
Tensor composed(const DistillationInputs& in, const DistillationLossOptions& options) {
  const double T = options.temperature, alpha = options.alpha;
  const Tensor teacher = options.detach_teacher ? in.teacher.detach() : in.teacher;
  Tensor rows =
      sum(kl_div(log_softmax(in.student / T, 1), softmax(teacher / T, 1), {.reduction = Reduction::none}),
          1) *
      (alpha * T * T);
  if (alpha < 1)
    rows = rows + (1 - alpha) * cross_entropy(in.student, in.labels, {.reduction = Reduction::none});
  double count = static_cast<double>(in.student.size(0));
  if (in.mask.defined()) {
    rows = where(in.mask, rows, 0.0);
    count = sum(in.mask).item<double>();
  }
  if (options.reduction == Reduction::none) return rows;
  return options.reduction == Reduction::sum ? sum(rows) : sum(rows) / count;
}

/// |got - want| <= tolerance · (the largest |want| + scale), scale being the size of what cancels in them.
void check_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what,
                 double scale = 1e-3) {
  BOOST_REQUIRE(got.shape() == want.shape());
  const auto a = got.values<double>(), b = want.values<double>();  // copies of all elements
  double largest = 0;
  for (const double value : b) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::abs(a[i] - b[i]) <= tolerance * (largest + scale)) continue;
    BOOST_ERROR(what << ": element " << i << " is " << a[i] << " instead of " << b[i]);
    return;
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(distillation)

BOOST_AUTO_TEST_CASE(fused_and_composed_agree) {
  for (const DType dtype : {DType::float64, DType::float32}) {
    const double tolerance = dtype == DType::float64 ? 1e-14 : 2e-6;
    for (const std::int64_t classes : {1, 3, 7, 10, 17, 33, 1000}) {
      for (const double T : {0.5, 1.0, 4.0, 20.0}) {
        for (const double alpha : {0.0, 0.3, 1.0}) {
          for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
            const std::string what = message("{}, {} classes, T {}, alpha {}, {}", name(dtype), classes, T,
                                             alpha, name(reduction));
            const Tensor student = uniform({5, classes}, 1, -4, 4).to(dtype).set_requires_grad();
            const Tensor teacher = uniform({5, classes}, 2, -4, 4).to(dtype).set_requires_grad();
            const DistillationInputs inputs{
                .student = student, .teacher = teacher, .labels = indices({5}, 3, classes)};
            const DistillationLossOptions options{
                .temperature = T, .alpha = alpha, .reduction = reduction, .detach_teacher = false};
            const Tensor fused = distillation_loss(inputs, options), plain = composed(inputs, options);
            BOOST_TEST((fused.dtype() == dtype));
            check_close(fused, plain, tolerance, what, T * T);
            const Tensor v = uniform(fused.shape(), 4, 0.5, 1.5).to(dtype);
            const GradOptions with{.grad_outputs = {v}, .allow_unused = true};
            const Tensors got = grad({fused}, {student, teacher}, with),
                          want = grad({plain}, {student, teacher}, with);
            for (std::size_t k = 0; k < 2; ++k)
              check_close(got[k].defined() ? got[k] : zeros_like(student),
                          want[k].defined() ? want[k] : zeros_like(student), tolerance,
                          what + (k ? ", teacher's gradient" : ", student's gradient"), T);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_class_and_the_defaults) {
  const DistillationLossOptions defaults;
  BOOST_TEST(defaults.temperature == 1.0);
  BOOST_TEST(defaults.alpha == 1.0);
  BOOST_TEST(defaults.detach_teacher);
  BOOST_TEST((defaults.reduction == Reduction::batchmean));
  const Tensor student = uniform({5, 4}, 1).set_requires_grad(),
               teacher = uniform({5, 4}, 2).set_requires_grad();
  DistillationLoss loss({.temperature = 4, .alpha = 0.9});
  const DistillationInputs inputs{.student = student, .teacher = teacher, .labels = indices({5}, 3, 4)};
  BOOST_TEST(loss(inputs).item<double>() ==
             distillation_loss(inputs, {.temperature = 4, .alpha = 0.9}).item<double>());
  const DistillationLoss plain;
  plain({.student = student, .teacher = teacher}).backward();
  BOOST_TEST(student.grad().defined());
  BOOST_TEST(!teacher.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_mask_leaves_rows_out_of_sum_and_count) {
  const Tensor student = uniform({6, 4}, 1).set_requires_grad(),
               teacher = uniform({6, 4}, 2).set_requires_grad();
  const Tensor labels = indices({6}, 3, 4), mask = tensor({1, 0, 1, 1, 0, 0});
  for (const double alpha : {0.5, 1.0}) {
    for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
      const DistillationInputs inputs{.student = student, .teacher = teacher, .labels = labels, .mask = mask};
      const DistillationLossOptions options{
          .temperature = 2, .alpha = alpha, .reduction = reduction, .detach_teacher = false};
      const Tensor fused = sum(distillation_loss(inputs, options)), plain = sum(composed(inputs, options));
      check_close(fused, plain, 1e-12, "masked");
      const Tensors got = grad({fused}, {student, teacher}), want = grad({plain}, {student, teacher});
      for (std::size_t k = 0; k < 2; ++k) {
        check_close(got[k], want[k], 1e-12, "masked gradient");
        for (const std::size_t row : {1, 4, 5})
          for (std::size_t c = 0; c < 4; ++c) BOOST_TEST(got[k].data<double>()[4 * row + c] == 0.0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_row_that_is_masked_out_may_hold_anything) {
  const Tensor student = tensor<double>({1, 2, inf, std::nan("")}, {2, 2}).set_requires_grad();
  const Tensor teacher = tensor<double>({2, 1, std::nan(""), -inf}, {2, 2}).set_requires_grad();
  const DistillationInputs inputs{
      .student = student, .teacher = teacher, .labels = tensor({1, 77}), .mask = tensor({1, 0})};
  for (const bool create_graph : {false, true}) {
    const Tensor loss = distillation_loss(inputs, {.temperature = 2, .alpha = 0.5, .detach_teacher = false});
    BOOST_TEST(std::isfinite(loss.item<double>()));
    for (const Tensor& g : grad({loss}, {student, teacher}, {.create_graph = create_graph})) {
      const std::vector<double> values = g.values<double>();
      BOOST_CHECK_MESSAGE(std::isfinite(values[0]) && std::isfinite(values[1]), "the row that counts: " << g);
      BOOST_CHECK_MESSAGE(values[2] == 0 && values[3] == 0,
                          "the row left out" << (create_graph ? ", recorded: " : ": ") << g);
    }
  }
}

BOOST_AUTO_TEST_CASE(with_no_row_left_the_loss_and_its_gradients_are_zero) {
  for (const Reduction reduction : {Reduction::sum, Reduction::batchmean}) {
    const Tensor student = uniform({3, 4}, 1).set_requires_grad(), teacher = uniform({3, 4}, 2);
    const Tensor loss = distillation_loss({.student = student,
                                           .teacher = teacher,
                                           .labels = indices({3}, 3, 4),
                                           .mask = zeros({3}, DType::int64)},
                                          {.temperature = 2, .alpha = 0.5, .reduction = reduction});
    BOOST_TEST(loss.item<double>() == 0.0);
    loss.backward();
    BOOST_REQUIRE(student.grad().defined());
    for (const double value : student.grad().values<double>()) BOOST_TEST(value == 0.0);
    const Tensor empty = zeros({0, 4}).set_requires_grad();
    const Tensor nothing =
        distillation_loss({.student = empty, .teacher = zeros({0, 4})}, {.reduction = reduction});
    BOOST_TEST(nothing.item<double>() == 0.0);
    nothing.backward();
    BOOST_TEST((empty.grad().shape() == Shape{0, 4}));
  }
}

BOOST_AUTO_TEST_CASE(options_out_of_range) {
  const DistillationInputs inputs{
      .student = uniform({3, 4}, 1), .teacher = uniform({3, 4}, 2), .labels = indices({3}, 3, 4)};
  for (const double wrong : {0.0, -1.0, 1e-300, 1e30, std::nan("")}) {
    const std::string text =
        thrown_text<ValueError>([&] { distillation_loss(inputs, {.temperature = wrong}); });
    BOOST_TEST(holds(text, "temperature"));
    BOOST_CHECK_THROW(DistillationLoss({.temperature = wrong}), ValueError);
  }
  for (const double wrong : {-0.1, 1.1, std::nan("")}) {
    const std::string text = thrown_text<ValueError>([&] { distillation_loss(inputs, {.alpha = wrong}); });
    BOOST_TEST(holds(text, "alpha"));
    BOOST_CHECK_THROW(DistillationLoss({.alpha = wrong}), ValueError);
  }
  const std::string mean =
      thrown_text<ValueError>([&] { distillation_loss(inputs, {.reduction = Reduction::mean}); });
  BOOST_TEST(holds(mean, "batchmean"));
  BOOST_CHECK_THROW(DistillationLoss({.reduction = Reduction::mean}), ValueError);
}

BOOST_AUTO_TEST_CASE(inputs_that_are_missing_or_do_not_fit) {
  const Tensor student = uniform({3, 4}, 1), teacher = uniform({3, 4}, 2), labels = indices({3}, 3, 4);
  BOOST_TEST(holds(thrown_text<ValueError>(
                       [&] { distillation_loss({.student = student, .teacher = teacher}, {.alpha = 0.5}); }),
                   "labels"));
  BOOST_CHECK_THROW(distillation_loss({.student = student}), ValueError);
  BOOST_CHECK_THROW(distillation_loss({.teacher = teacher}), ValueError);
  const std::string shapes = thrown_text<ShapeError>([&] {
    distillation_loss({.student = student, .teacher = uniform({4, 3}, 1)});
  });
  BOOST_TEST(holds(shapes, "(3, 4)"));
  BOOST_TEST(holds(shapes, "(4, 3)"));
  BOOST_CHECK_THROW(distillation_loss({.student = student, .teacher = teacher, .labels = indices({4}, 1, 4)},
                                      {.alpha = 0.5}),
                    ShapeError);
  BOOST_CHECK_THROW(
      distillation_loss({.student = student, .teacher = teacher, .mask = ones({2}, DType::int64)}),
      ShapeError);
  BOOST_CHECK_THROW(distillation_loss({.student = student, .teacher = teacher, .mask = ones({3})}),
                    TypeError);
  BOOST_CHECK_THROW(distillation_loss({.student = student, .teacher = teacher, .mask = tensor({0, 1, 2})}),
                    ValueError);
  BOOST_CHECK_THROW(
      distillation_loss({.student = tensor<std::int64_t>({1, 2}, {1, 2}), .teacher = uniform({1, 2}, 1)}),
      TypeError);
  const std::string range = thrown_text<IndexError>([&] {
    distillation_loss({.student = student, .teacher = teacher, .labels = tensor({0, 9, 1})}, {.alpha = 0.5});
  });
  BOOST_TEST(holds(range, "9"));
  BOOST_TEST(holds(range, "position 1"));
  BOOST_TEST(holds(range, "[0, 4)"));
}

BOOST_AUTO_TEST_CASE(rows_without_classes_are_refused_unless_they_are_excluded) {
  const Tensor none = zeros({3, 0}), labels = zeros({3}, DType::int64), nothing = zeros({3, 0}, DType::int64);
  const SparseTeacher sparse{nothing, none, zeros({3}), 0, 1};
  for (const Reduction reduction : {Reduction::batchmean, Reduction::sum, Reduction::none}) {
    const auto losses = [&](const Tensor& mask) {
      return std::vector<std::pair<std::string, std::function<Tensor()>>>{
          {"distillation_loss: .student",
           [=] {
             return distillation_loss({.student = none, .teacher = none, .mask = mask},
                                      {.reduction = reduction});
           }},
          {"distillation_loss: .student",
           [=] {
             return distillation_loss({.student = none, .labels = labels, .mask = mask},
                                      {.alpha = 0, .reduction = reduction});
           }},
          {"decoupled_distillation_loss: .student",
           [=] {
             return decoupled_distillation_loss(
                 {.student = none, .teacher = none, .labels = labels, .mask = mask},
                 {.reduction = reduction});
           }},
          {"sparse_distillation_loss: .student",
           [=] {
             return sparse_distillation_loss({.student = none, .teacher = sparse, .mask = mask},
                                             {.reduction = reduction});
           }},
          {"linear_distillation_loss: the student's output", [=] {
             return linear_distillation_loss(
                 {.hidden = zeros({3, 4}), .weight = zeros({0, 4}), .teacher_logits = none, .mask = mask},
                 {.reduction = reduction});
           }}};
    };
    for (const auto& [name, loss] : losses({}))
      BOOST_TEST(thrown_text<ShapeError>(loss) ==
                 name + " has shape (3, 0), which has no classes; there must be at least one");
    for (const auto& [name, loss] : losses(labels))
      for (const double value : loss().values<double>()) BOOST_TEST(value == 0, name);
  }
}

BOOST_AUTO_TEST_CASE(a_class_masked_in_both_logits_takes_no_part) {
  const Tensor student = tensor<double>({1, -inf, 2, 0.5, -inf, 1}, {2, 3}).set_requires_grad();
  const Tensor teacher = tensor<double>({0, -inf, 1, 2, -inf, 0}, {2, 3}).set_requires_grad();
  const Tensor small_student = tensor<double>({1, 2, 0.5, 1}, {2, 2}).set_requires_grad();
  const Tensor small_teacher = tensor<double>({0, 1, 2, 0}, {2, 2}).set_requires_grad();
  const DistillationLossOptions options{.temperature = 3, .alpha = 0.8, .detach_teacher = false};
  const auto loss = [&] {
    return distillation_loss({.student = student, .teacher = teacher, .labels = tensor({2, 0})}, options);
  };
  const Tensor small = distillation_loss(
      {.student = small_student, .teacher = small_teacher, .labels = tensor({1, 0})}, options);
  BOOST_TEST(loss().item<double>() == small.item<double>(), boost::test_tools::tolerance(1e-13));
  const Tensors want = grad({small}, {small_student, small_teacher});
  for (const bool create_graph : {false, true}) {
    const Tensors got = grad({loss()}, {student, teacher}, {.create_graph = create_graph});
    for (std::size_t k = 0; k < 2; ++k) {
      const std::vector<double> g = got[k].values<double>(), w = want[k].values<double>();
      BOOST_TEST(g[1] == 0.0);
      BOOST_TEST(g[4] == 0.0);
      const std::size_t kept[] = {0, 2, 3, 5};
      for (std::size_t i = 0; i < 4; ++i) BOOST_TEST(std::abs(g[kept[i]] - w[i]) < 1e-13);
    }
  }
}

BOOST_AUTO_TEST_CASE(logits_of_ten_thousand_keep_loss_and_gradients_finite) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const bool create_graph : {false, true}) {
      const Tensor student =
          tensor<double>({1e4, -1e4, 0, -1e4, 1e4, 9999}, {2, 3}).to(dtype).set_requires_grad();
      const Tensor teacher =
          tensor<double>({-1e4, 1e4, 0, 1e4, 9998, -1e4}, {2, 3}).to(dtype).set_requires_grad();
      const Tensor loss =
          distillation_loss({.student = student, .teacher = teacher, .labels = tensor({2, 0})},
                            {.temperature = 1, .alpha = 0.5, .detach_teacher = false});
      BOOST_TEST(std::isfinite(loss.item<double>()));
      for (const Tensor& g : grad({loss}, {student, teacher}, {.create_graph = create_graph}))
        for (const double value : g.values<double>()) BOOST_TEST(std::isfinite(value));
    }
  }
}

BOOST_AUTO_TEST_CASE(second_order_and_one_tensor_on_both_sides) {
  const Tensor labels = indices({4}, 3, 5);
  const auto f = [&](const Tensors& in) {
    return distillation_loss({.student = in[0], .teacher = in[1], .labels = labels},
                             {.temperature = 2, .alpha = 0.6, .detach_teacher = false});
  };
  const Tensors inputs{uniform({4, 5}, 1).set_requires_grad(), uniform({4, 5}, 2).set_requires_grad()};
  BOOST_TEST(bool(gradcheck(f, inputs)), gradcheck(f, inputs));
  BOOST_TEST(bool(gradgradcheck(f, inputs)), gradgradcheck(f, inputs));
  const auto same = [&](const Tensors& in) { return f({in[0], in[0]}); };
  BOOST_TEST(bool(gradcheck(same, {inputs[0]})), gradcheck(same, {inputs[0]}));
  BOOST_TEST(bool(gradgradcheck(same, {inputs[0]})), gradgradcheck(same, {inputs[0]}));
}

BOOST_AUTO_TEST_CASE(a_loss_over_two_leading_dimensions_is_that_of_all_rows) {
  const Tensor student = uniform({2, 3, 4}, 1), teacher = uniform({2, 3, 4}, 2),
               labels = indices({2, 3}, 3, 4);
  const DistillationLossOptions options{.temperature = 2, .alpha = 0.5};
  const Tensor deep = distillation_loss({.student = student, .teacher = teacher, .labels = labels}, options);
  const Tensor flat = distillation_loss({.student = reshape(student, {6, 4}),
                                         .teacher = reshape(teacher, {6, 4}),
                                         .labels = reshape(labels, {6})},
                                        options);
  BOOST_TEST(deep.item<double>() == flat.item<double>());
}

BOOST_AUTO_TEST_CASE(student_and_teacher_of_different_types) {
  const Tensor student = uniform({3, 4}, 1).to(DType::float32).set_requires_grad(),
               teacher = uniform({3, 4}, 2);
  const Tensor loss = distillation_loss({.student = student, .teacher = teacher}, {.temperature = 2});
  BOOST_TEST((loss.dtype() == DType::float64));
  loss.backward();
  BOOST_TEST((student.grad().dtype() == DType::float32));
}

BOOST_AUTO_TEST_CASE(changing_the_logits_before_backward_is_an_error) {
  const Tensor student = uniform({3, 4}, 1).set_requires_grad(), teacher = uniform({3, 4}, 2);
  const Tensor loss = distillation_loss({.student = student, .teacher = teacher}, {.temperature = 2});
  student.mutable_data<double>()[0] = 5;
  BOOST_CHECK_THROW(grad({loss}, {student}, {.create_graph = true}), GraphError);
}

BOOST_AUTO_TEST_CASE(the_linear_layer_in_one_with_the_loss_is_the_two_calls) {
  const Tensor hidden = uniform({300, 24}, 1).to(DType::float32).set_requires_grad();
  const Tensor weight = uniform({1000, 24}, 2).to(DType::float32).set_requires_grad();
  const Tensor bias = uniform({1000}, 3).to(DType::float32).set_requires_grad();
  const Tensor teacher = uniform({300, 1000}, 4, -6, 6).to(DType::float32);
  const Tensor labels = indices({300}, 5, 1000), mask = indices({300}, 6, 2);
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
    const DistillationLossOptions options{.temperature = 3, .alpha = 0.8, .reduction = reduction};
    const Tensor one = linear_distillation_loss({.hidden = hidden,
                                                 .weight = weight,
                                                 .bias = bias,
                                                 .teacher_logits = teacher,
                                                 .labels = labels,
                                                 .mask = mask},
                                                options);
    const Tensor two = distillation_loss(
        {.student = linear(hidden, weight, bias), .teacher = teacher, .labels = labels, .mask = mask},
        options);
    check_close(one, two, 1e-5, "loss");
    const GradOptions with{.grad_outputs = {uniform(one.shape(), 7, 0.5, 1.5).to(DType::float32)}};
    const Tensors got = grad({one}, {hidden, weight, bias}, with),
                  want = grad({two}, {hidden, weight, bias}, with);
    for (std::size_t k = 0; k < 3; ++k) check_close(got[k], want[k], 1e-5, "gradient " + std::to_string(k));
  }
}

BOOST_AUTO_TEST_CASE(the_teacher_of_the_linear_form_is_given_once) {
  const Tensor hidden = uniform({3, 2}, 1), weight = uniform({4, 2}, 2), logits = uniform({3, 4}, 3);
  BOOST_CHECK_THROW(linear_distillation_loss({.hidden = hidden, .weight = weight}), ValueError);
  BOOST_CHECK_THROW(linear_distillation_loss({.hidden = hidden,
                                              .weight = weight,
                                              .teacher_logits = logits,
                                              .teacher_hidden = hidden,
                                              .teacher_weight = weight}),
                    ValueError);
  BOOST_CHECK_THROW(linear_distillation_loss({.hidden = hidden, .weight = weight, .teacher_hidden = hidden}),
                    Error);
  BOOST_CHECK_THROW(linear_distillation_loss({.hidden = hidden, .weight = weight, .teacher_logits = logits},
                                             {.reduction = Reduction::mean}),
                    ValueError);
}

BOOST_AUTO_TEST_CASE(the_temperature_of_the_linear_form_is_that_of_its_sparse_teacher) {
  const Tensor hidden = uniform({3, 2}, 1), weight = uniform({4, 2}, 2);
  const LinearDistillationInputs inputs{
      .hidden = hidden, .weight = weight, .teacher_sparse = sparse_teacher(uniform({3, 4}, 3), 2, 2)};
  const double loss = linear_distillation_loss(inputs).item<double>();
  BOOST_TEST(linear_distillation_loss(inputs, {.temperature = 2}).item<double>() == loss);
  BOOST_TEST(linear_distillation_loss(inputs, {.temperature = 9}).item<double>() == loss);
}

BOOST_AUTO_TEST_CASE(the_linear_form_takes_a_sparse_teacher) {
  const Tensor hidden = uniform({300, 24}, 1).to(DType::float32).set_requires_grad();
  const Tensor weight = uniform({1000, 24}, 2).to(DType::float32).set_requires_grad();
  const Tensor bias = uniform({1000}, 3).to(DType::float32).set_requires_grad();
  const SparseTeacher teacher = sparse_teacher(uniform({300, 1000}, 4, -6, 6).to(DType::float32), 16, 3);
  const Tensor labels = indices({300}, 5, 1000), mask = indices({300}, 6, 2);
  const Tensor factors = uniform({300}, 8, 0, 2).to(DType::float32);
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean})
    for (const double alpha : {1.0, 0.8, 0.0}) {
      const Tensor one = linear_distillation_loss({.hidden = hidden,
                                                   .weight = weight,
                                                   .bias = bias,
                                                   .labels = labels,
                                                   .mask = mask,
                                                   .row_weight = factors,
                                                   .teacher_sparse = teacher},
                                                  {.alpha = alpha, .reduction = reduction});
      const Tensor two = sparse_distillation_loss({.student = linear(hidden, weight, bias),
                                                   .teacher = teacher,
                                                   .labels = labels,
                                                   .mask = mask,
                                                   .weight = factors},
                                                  {.alpha = alpha, .reduction = reduction});
      check_close(one, two, 1e-5, "loss");
      const GradOptions with{.grad_outputs = {uniform(one.shape(), 7, 0.5, 1.5).to(DType::float32)}};
      const Tensors got = grad({one}, {hidden, weight, bias}, with),
                    want = grad({two}, {hidden, weight, bias}, with);
      for (std::size_t k = 0; k < 3; ++k) check_close(got[k], want[k], 1e-5, "gradient " + std::to_string(k));
    }
}

BOOST_AUTO_TEST_CASE(what_a_sparse_teacher_of_the_linear_form_cannot_do) {
  const Tensor hidden = uniform({3, 2}, 1), weight = uniform({4, 2}, 2), logits = uniform({3, 4}, 3);
  const SparseTeacher teacher = sparse_teacher(logits, 2, 1);
  const auto refused = [&](const Tensor& dense, const SparseTeacher& sparse,
                           DistillationLossOptions options) {
    BOOST_CHECK_THROW(
        linear_distillation_loss(
            {.hidden = hidden, .weight = weight, .teacher_logits = dense, .teacher_sparse = sparse}, options),
        ValueError);
  };
  refused(logits, teacher, {});
  refused({}, teacher, {.divergence = Divergence::reverse_kl});
  refused({}, teacher, {.standardize = true});
  SparseTeacher broken = teacher;
  broken.log_tail = {};
  refused({}, broken, {});
  broken = teacher;
  broken.temperature = 0;
  refused({}, broken, {});
  BOOST_CHECK_THROW(
      linear_distillation_loss(
          {.hidden = hidden, .weight = weight, .teacher_sparse = sparse_teacher(uniform({3, 5}, 3), 2, 1)}),
      ShapeError);
}

BOOST_AUTO_TEST_SUITE_END()
