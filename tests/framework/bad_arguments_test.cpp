// Arguments that make no sense: one error that names the operation, the argument and what it got.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "tests_support.hpp"

namespace rt = retort;
using rt::tests::contains;
using rt::tests::thrown_text;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();

/// Checks that f throws an Expected whose text holds all parts.
template <class Expected, class F, class... Parts>
void refused(F f, Parts... parts) {
  const std::string text = thrown_text<Expected>(f);
  for (const std::string& part : {std::string(parts)...})
    BOOST_TEST(contains(text, part), "'" << part << "' is not in: " << text);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(bad_arguments)

BOOST_AUTO_TEST_CASE(modules_refuse_numbers_that_make_no_sense) {
  for (const double bad : {not_a_number, infinity, -infinity, -1.0}) {
    refused<rt::ValueError>([&] { rt::LayerNorm(3, {.eps = bad}); }, "LayerNorm: eps is");
    refused<rt::ValueError>([&] { rt::RMSNorm(3, {.eps = bad}); }, "RMSNorm: eps is");
    refused<rt::ValueError>([&] { rt::GroupNorm(1, 3, {.eps = bad}); }, "GroupNorm: eps is");
    refused<rt::ValueError>([&] { rt::BatchNorm1d(3, {.eps = bad}); }, "BatchNorm1d: eps is");
    refused<rt::ValueError>([&] { rt::BatchNorm2d(3, {.momentum = bad}); }, "BatchNorm2d: momentum is");
    refused<rt::ValueError>([&] { rt::Softplus({.beta = bad}); }, "Softplus: beta is");
    refused<rt::ValueError>([&] { rt::Dropout{bad}; }, "Dropout: p is");
    refused<rt::ValueError>([&] { rt::LSTM(2, 3, {.dropout = bad}); }, "LSTM: dropout is");
    refused<rt::ValueError>([&] { rt::MultiheadAttention(4, 2, {.dropout = bad}); },
                            "MultiheadAttention: dropout is");
    refused<rt::ValueError>([&] { rt::TransformerEncoderLayer(4, 2, {.layer_norm_eps = bad}); },
                            "TransformerEncoderLayer: layer_norm_eps is");
  }
  for (const double bad : {not_a_number, infinity}) {
    refused<rt::ValueError>([&] { rt::ELU{bad}; }, "ELU: alpha is", "a finite number");
    refused<rt::ValueError>([&] { rt::LeakyReLU{bad}; }, "LeakyReLU: slope is", "a finite number");
    refused<rt::ValueError>([&] { rt::PReLU(1, {.init = bad}); }, "PReLU: init is", "a finite number");
  }
  refused<rt::ValueError>([] { rt::Softplus({.threshold = not_a_number}); }, "Softplus: threshold is nan");
  BOOST_CHECK_NO_THROW(rt::Softplus({.threshold = infinity}));
  BOOST_CHECK_NO_THROW(rt::LayerNorm(3, {.eps = 0}));
  refused<rt::ShapeError>([] { rt::LayerNorm(-3, {.elementwise_affine = false}); },
                          "LayerNorm: normalized_shape is (-3)");
  refused<rt::ShapeError>([] { rt::RMSNorm(rt::Shape{}); }, "RMSNorm: normalized_shape is ()");
}

BOOST_AUTO_TEST_CASE(functions_refuse_numbers_that_make_no_sense) {
  const rt::Tensor x = rt::ones({2, 3});
  refused<rt::ValueError>([&] { rt::layer_norm(x, {3}, {}, {}, not_a_number); }, "layer_norm: eps is nan");
  refused<rt::ValueError>([&] { rt::rms_norm(x, {3}, {}, -1); }, "rms_norm: eps is -1");
  refused<rt::ValueError>([&] { rt::group_norm(x, 1, {}, {}, infinity); }, "group_norm: eps is inf");
  refused<rt::ValueError>([&] { rt::batch_norm(x, {}, {}, {}, {}, {.training = true, .momentum = 2}); },
                          "batch_norm: momentum is 2");
  refused<rt::ValueError>([&] { rt::elu(x, not_a_number); }, "elu: alpha is nan");
  refused<rt::ValueError>([&] { rt::leaky_relu(x, infinity); }, "leaky_relu: slope is inf");
  refused<rt::ValueError>([&] { rt::softplus(x, {.beta = 0}); }, "softplus: beta is 0");
  refused<rt::ValueError>([&] { rt::scaled_dot_product_attention(x, x, x, {.scale = not_a_number}); },
                          "scaled_dot_product_attention: scale is nan");
}

BOOST_AUTO_TEST_CASE(windows_are_checked_when_the_module_is_made) {
  refused<rt::ValueError>([] { rt::Conv1d(1, 1, 3, {.stride = 0}); }, "Conv1d: stride is 0; it must be");
  refused<rt::ValueError>([] { rt::Conv1d(1, 1, 0); }, "Conv1d: kernel size is 0");
  refused<rt::ValueError>([] { rt::Conv2d(1, 1, 3, {.padding = -1}); }, "Conv2d: padding is (-1, -1)");
  refused<rt::ValueError>([] { rt::Conv2d(1, 1, 3, {.dilation = 0}); }, "Conv2d: dilation is (0, 0)");
  refused<rt::ValueError>([] { rt::ConvTranspose2d(1, 1, 3, {.output_padding = 1}); },
                          "ConvTranspose2d: output_padding is (1, 1)");
  refused<rt::ValueError>([] { rt::MaxPool2d{0}; }, "MaxPool2d: kernel size is (0, 0)");
  refused<rt::ValueError>([] { rt::MaxPool2d({.kernel_size = 2, .padding = 2}); },
                          "MaxPool2d: padding (2, 2) is more than half");
  refused<rt::ValueError>([] { rt::AvgPool2d({.kernel_size = 2, .stride = 0}); },
                          "AvgPool2d: stride is (0, 0)");
  refused<rt::ValueError>([] { rt::MaxPool1d{0}; }, "MaxPool1d: kernel size is 0");
  refused<rt::ValueError>([] { rt::AvgPool1d({.kernel_size = 2, .padding = 2}); },
                          "AvgPool1d: padding 2 is more than half the kernel's size 2");
  refused<rt::ValueError>([] { rt::AdaptiveAvgPool2d{0}; }, "AdaptiveAvgPool2d: size is (0, 0)");
  refused<rt::ValueError>([] { rt::AdaptiveMaxPool2d{0}; }, "AdaptiveMaxPool2d: size is (0, 0)");
  const rt::Conv1d conv(3, 4, 3);
  refused<rt::ShapeError>(
      [&] {
        conv(rt::ones({2, 3, 2}));
      },
      "conv1d: input has shape (2, 3, 2), too small for a kernel of (4, 3, 3) with padding "
      "0 and dilation 1");
}

BOOST_AUTO_TEST_CASE(sizes_beyond_memory_are_refused_at_once) {
  refused<rt::ValueError>([] { rt::LSTM(1, huge); }, "LSTM: 1 input, 9223372036854775807 hidden units");
  refused<rt::ValueError>([] { rt::LSTM(1, 1, {.num_layers = huge}); }, "LSTM:", "layers");
  refused<rt::ValueError>([] { rt::MultiheadAttention(-4, 2); }, "MultiheadAttention: embed_dim is -4");
  refused<rt::ValueError>([] { rt::TransformerEncoderLayer(4, 2, {.dim_feedforward = 0}); },
                          "TransformerEncoderLayer: dim_feedforward is 0");
}

BOOST_AUTO_TEST_CASE(an_undefined_or_integer_argument_is_named) {
  const rt::Tensor none, x = rt::ones({2, 3}), integers = rt::zeros({3}, rt::DType::int64);
  const rt::Tensor images = rt::ones({1, 3, 4, 4}), rows = rt::ones({1, 2, 4});
  refused<rt::ValueError>([&] { rt::linear(x, none); }, "linear: weight is undefined");
  refused<rt::TypeError>([&] { rt::linear(x, rt::ones({3, 3}), integers); }, "linear: bias is int64");
  refused<rt::ValueError>([&] { rt::matmul(x, none); }, "matmul: b is undefined");
  refused<rt::ValueError>([&] { x + none; }, "add: the right input is undefined");
  refused<rt::ValueError>([&] { none* x; }, "mul: the left input is undefined");
  refused<rt::ValueError>([&] { rt::conv2d(images, none); }, "conv2d: weight is undefined");
  refused<rt::ValueError>([&] { rt::conv2d(none, images); }, "conv2d: the input is undefined");
  refused<rt::TypeError>(
      [&] {
        rt::conv2d(images, rt::ones({3, 3, 1, 1}), integers);
      },
      "conv2d: bias is int64");
  refused<rt::TypeError>([&] { rt::layer_norm(x, {3}, integers); }, "layer_norm: weight is int64");
  refused<rt::ValueError>([&] { rt::scaled_dot_product_attention(rows, none, rows); },
                          "scaled_dot_product_attention: key is undefined");
  rt::MultiheadAttention attention(4, 2);
  refused<rt::ValueError>([&] { attention(rows, rows, none); }, "MultiheadAttention: value is undefined");
  rt::LSTM lstm(4, 2);
  refused<rt::ValueError>([&] { lstm(none); }, "LSTM: the input is undefined");
  refused<rt::TypeError>(
      [&] {
        lstm(rows, {.h0 = rt::zeros({1, 1, 2}, rt::DType::int64)});
      },
      "LSTM: h0 is int64");
  lstm.layers[0].weight_hh = none;
  refused<rt::ValueError>([&] { lstm(rows); }, "LSTM: weight_hh is undefined");
  rt::BatchNorm1d norm(3);
  refused<rt::ValueError>([&] { norm(none); }, "BatchNorm1d: the input is undefined");
  refused<rt::ValueError>([&] { none.backward(); }, "backward: the output is undefined");
  refused<rt::ValueError>([&] { rt::embedding(integers, none); }, "embedding: weight is undefined");
}

BOOST_AUTO_TEST_CASE(losses_name_the_argument) {
  const rt::Tensor none, x = rt::ones({2, 3}), labels = rt::zeros({2}, rt::DType::int64),
                         integers = rt::zeros({2, 3}, rt::DType::int64);
  refused<rt::ValueError>([&] { rt::mse_loss(x, none); }, "mse_loss: target is undefined");
  refused<rt::TypeError>([&] { rt::l1_loss(integers, x); }, "l1_loss: input is int64");
  refused<rt::ValueError>([&] { rt::nll_loss(x, none); }, "nll_loss: target is undefined");
  refused<rt::ValueError>([&] { rt::cross_entropy(x, none); }, "cross_entropy: target is undefined");
  refused<rt::TypeError>([&] { rt::CrossEntropyLoss({.weight = labels}); }, "cross_entropy: weight is int64");
  refused<rt::TypeError>([&] { rt::BCEWithLogitsLoss({.pos_weight = labels}); }, "pos_weight is int64");
  refused<rt::ValueError>([&] { rt::triplet_margin_loss(x, x, none); },
                          "triplet_margin_loss: negative is undefined");
  refused<rt::ValueError>([&] { rt::cosine_embedding_loss(x, none, labels); }, "input2 is undefined");
  refused<rt::ValueError>([&] { rt::dist_loss(x, none); }, "dist_loss: teacher is undefined");
  refused<rt::ValueError>([&] { rt::mix_teachers({none}, {1}, 1); }, "mix_teachers: teacher 0 is undefined");
  refused<rt::ValueError>([&] { rt::similarity_preserving_loss(x, none); }, "teacher is undefined");
  refused<rt::TypeError>([&] { rt::distillation_loss({.student = x, .teacher = integers}); },
                         "distillation_loss: .teacher is int64");
  refused<rt::TypeError>(
      [&] { rt::decoupled_distillation_loss({.student = x, .teacher = integers, .labels = labels}); },
      "decoupled_distillation_loss: .teacher is int64");
  refused<rt::TypeError>(
      [&] {
        rt::linear_distillation_loss({.hidden = x, .weight = integers, .teacher_logits = rt::ones({2, 2})});
      },
      "linear_distillation_loss: .weight is int64");
}

BOOST_AUTO_TEST_CASE(a_loss_checks_its_options_when_it_is_made) {
  for (const double bad : {not_a_number, infinity, -1.0}) {
    refused<rt::ValueError>([&] { rt::DecoupledDistillationLoss({.beta = bad}); }, "beta is");
    refused<rt::ValueError>([&] { rt::DecoupledDistillationLoss({.temperature = bad}); }, "temperature is");
    refused<rt::ValueError>([&] { rt::SparseDistillationLoss({.alpha = bad}); }, "alpha is");
    refused<rt::ValueError>([&] { rt::DISTLoss({.temperature = bad}); }, "temperature is");
    refused<rt::ValueError>([&] { rt::DistillationLoss({.temperature = bad}); }, "temperature is");
    refused<rt::ValueError>([&] { rt::SmoothL1Loss({.beta = bad}); }, "smooth_l1_loss: beta is");
    refused<rt::ValueError>([&] { rt::CrossEntropyLoss({.label_smoothing = bad}); }, "label_smoothing is");
    refused<rt::ValueError>([&] { rt::TripletMarginLoss({.margin = bad}); }, "margin is");
  }
  for (const double bad : {not_a_number, infinity}) {
    refused<rt::ValueError>([&] { rt::DISTLoss({.beta = bad}); }, "dist_loss: beta is");
    refused<rt::ValueError>([&] { rt::DISTLoss({.gamma = bad}); }, "dist_loss: gamma is");
    refused<rt::ValueError>([&] { rt::CosineEmbeddingLoss({.margin = bad}); }, "margin is");
    refused<rt::ValueError>([&] { rt::TripletMarginLoss({.eps = bad}); }, "eps is");
  }
  refused<rt::ValueError>([] { rt::HuberLoss({.delta = not_a_number}); }, "huber_loss: delta is nan");
  refused<rt::ValueError>([] { rt::HuberLoss({.delta = 0}); }, "huber_loss: delta is 0");
  refused<rt::ValueError>([] { rt::SparseDistillationLoss({.reduction = rt::Reduction::mean}); },
                          "sparse_distillation_loss: reduction mean");
  refused<rt::ValueError>([] { rt::MSELoss({.reduction = rt::Reduction::batchmean}); }, "mse_loss:");
}

BOOST_AUTO_TEST_CASE(sparse_teachers_with_faults_are_refused) {
  const rt::SparseTeacher good = rt::sparse_teacher(rt::randn({2, 5}), 3, 2);
  const rt::Tensor student = rt::randn({2, 5});
  const auto with = [&](auto change) {
    rt::SparseTeacher teacher{good.indices.clone(), good.log_probs.clone(), good.log_tail.clone(),
                              good.classes, good.temperature};
    change(teacher);
    return teacher;
  };
  const auto both = [&]<class Expected>(const rt::SparseTeacher& teacher, const char* text, Expected*) {
    refused<Expected>([&] { rt::sparse_distillation_loss({.student = student, .teacher = teacher}); },
                      "sparse_distillation_loss: ", text);
    refused<Expected>([&] { rt::dense_logits(teacher); }, "dense_logits: ", text);
  };
  rt::ValueError* const value = nullptr;
  constexpr float inf = std::numeric_limits<float>::infinity();
  both(with([](auto& t) { t.log_probs.template mutable_data<float>()[4] = inf; }), "in row 1 is inf", value);
  both(with([](auto& t) { t.log_tail.template mutable_data<float>()[1] = inf; }), "log_tail in row 1 is inf",
       value);
  both(with([](auto& t) {
         const auto row = t.indices.template mutable_data<std::int64_t>();
         row[1] = row[0];
       }),
       "twice in row 0", value);
  both(with([](auto& t) { t.temperature = not_a_number; }), "temperature is nan", value);
  both(with([](auto& t) { t.log_tail = rt::Tensor(); }), ".log_tail is missing", value);
  both(with([](auto& t) { t.indices.template mutable_data<std::int64_t>()[0] = 5; }), "class 5 in row 0",
       static_cast<rt::IndexError*>(nullptr));
  both(with([](auto& t) {
         t.indices = rt::ones({2, 3});
       }),
       "teacher's .indices must be int64", static_cast<rt::TypeError*>(nullptr));
  // Rows that the mask excludes may contain anything; NaN in a row that counts gives NaN, as in
  // distillation_loss.
  const rt::SparseTeacher masked = with([](auto& t) { t.log_probs.template mutable_data<float>()[4] = inf; });
  BOOST_CHECK_NO_THROW(
      rt::sparse_distillation_loss({.student = student, .teacher = masked, .mask = rt::tensor({1, 0})}));
  const rt::SparseTeacher unknown =
      with([](auto& t) { t.log_probs.template mutable_data<float>()[4] = static_cast<float>(not_a_number); });
  BOOST_TEST(
      std::isnan(rt::sparse_distillation_loss({.student = student, .teacher = unknown}).item<double>()));
}

BOOST_AUTO_TEST_CASE(optimisers_refuse_infinite_options) {
  const rt::Tensors p{rt::ones({2}).set_requires_grad()};
  refused<rt::ValueError>([&] { rt::Lion(p, {.lr = infinity}); }, "Lion: lr is inf; it must be finite");
  refused<rt::ValueError>([&] { rt::Lion(p, {.weight_decay = not_a_number}); }, "Lion: weight_decay is nan");
  refused<rt::ValueError>([&] { rt::Adam(p, {.eps = infinity}); }, "Adam: eps is inf; it must be finite");
  refused<rt::ValueError>([&] { rt::AdamW(p, {.weight_decay = infinity}); }, "AdamW: weight_decay is inf");
  refused<rt::ValueError>([&] { rt::SGD(p, {.momentum = infinity}); }, "SGD: momentum is inf");
  refused<rt::ValueError>([&] { rt::SGD(p, {.dampening = not_a_number}); }, "SGD: dampening is nan");
  refused<rt::ValueError>([&] { rt::LBFGS(p, {.tolerance_grad = infinity}); },
                          "LBFGS: tolerance_grad is inf");
  rt::SGD sgd(p, {.lr = 1});
  refused<rt::ValueError>([&] { sgd.set_lr(infinity); }, "SGD: lr is inf");
  BOOST_TEST(sgd.lr() == 1);
}

BOOST_AUTO_TEST_CASE(schedules_refuse_options_that_are_not_finite) {
  rt::SGD sgd({rt::ones({2}).set_requires_grad()}, {.lr = 1, .momentum = 0.9});
  for (const double bad : {not_a_number, infinity}) {
    refused<rt::ValueError>([&] { rt::StepLR(sgd, {.step_size = 1, .gamma = bad}); }, "StepLR: gamma is");
    refused<rt::ValueError>([&] { rt::MultiStepLR(sgd, {.gamma = bad}); }, "MultiStepLR: gamma is");
    refused<rt::ValueError>([&] { rt::ExponentialLR(sgd, {.gamma = bad}); }, "ExponentialLR: gamma is");
    refused<rt::ValueError>([&] { rt::CosineAnnealingLR(sgd, {.T_max = 1, .eta_min = bad}); }, "eta_min is");
    refused<rt::ValueError>([&] { rt::CosineAnnealingWarmRestarts(sgd, {.T_0 = 1, .eta_min = bad}); },
                            "eta_min is");
    refused<rt::ValueError>([&] { rt::OneCycleLR(sgd, {.max_lr = bad, .total_steps = 4}); }, "max_lr is");
    refused<rt::ValueError>([&] { rt::OneCycleLR(sgd, {.max_lr = 1, .total_steps = 4, .div_factor = bad}); },
                            "div_factor is");
    refused<rt::ValueError>([&] { rt::ReduceLROnPlateau(sgd, {.threshold = bad}); }, "threshold is");
    refused<rt::ValueError>([&] { rt::ReduceLROnPlateau(sgd, {.eps = bad}); }, "eps is");
    refused<rt::ValueError>([&] { rt::ReduceLROnPlateau(sgd, {.min_lr = bad}); }, "min_lr is");
    refused<rt::ValueError>([&] { rt::EarlyStopping({.min_delta = bad}); }, "min_delta is");
    refused<rt::ValueError>([&] { rt::LRScheduler(sgd, [bad](std::int64_t) { return bad; }); },
                            "the rate is");
  }
  BOOST_TEST(sgd.lr() == 1);
}

BOOST_AUTO_TEST_CASE(a_state_of_another_kind_is_refused_in_one_line) {
  const rt::Tensor a = rt::ones({2}).set_requires_grad(), b = rt::ones({2}).set_requires_grad();
  rt::SGD sgd({a, b}, {.lr = 1}), groups({{{a}, {.lr = 1}}, {{b}, {.lr = 1}}}), fewer({a}, {.lr = 1});
  rt::Adam adam({a, b});
  refused<rt::ValueError>([&] { adam.load_state_dict(sgd.state_dict()); },
                          "Adam::load_state_dict: the state is that of the class SGD, but this one is Adam");
  refused<rt::ValueError>(
      [&] {
        rt::LBFGS({a, b}).load_state_dict(adam.state_dict());
      },
      "LBFGS::load_state_dict: the state is that of the class Adam, but this one is LBFGS");
  rt::StateDict unnamed = sgd.state_dict();  // of an earlier version
  unnamed.erase("class.SGD");
  refused<rt::ValueError>(
      [&] { adam.load_state_dict(unnamed); },
      "Adam::load_state_dict: the state is of another kind of optimiser: it has the options "
      "momentum, dampening, nesterov, but not betas.0, betas.1, eps, amsgrad");
  refused<rt::ValueError>([&] { sgd.load_state_dict(groups.state_dict()); },
                          "the state has 2 parameter groups, but the optimiser has 1");
  refused<rt::ValueError>([&] { fewer.load_state_dict(sgd.state_dict()); },
                          "the state has 2 parameters, but the optimiser has 1");

  const rt::LRScheduler warmup = rt::warmup_cosine(sgd, {.warmup_steps = 2, .total_steps = 9});
  rt::CosineAnnealingLR cosine(sgd, {.T_max = 9});
  refused<rt::ValueError>(
      [&] { cosine.load_state_dict(warmup.state_dict()); },
      "LRScheduler::load_state_dict: the state is that of the schedule warmup_cosine, but "
      "this one is CosineAnnealingLR");
  rt::StepLR step(groups, {.step_size = 1}), other(sgd, {.step_size = 1});
  refused<rt::ValueError>([&] { other.load_state_dict(step.state_dict()); },
                          "the state has 2 parameter groups, but the optimiser has 1");
  rt::ReduceLROnPlateau lowest(sgd, {.mode = "min"}), highest(sgd, {.mode = "max"});
  refused<rt::ValueError>([&] { highest.load_state_dict(lowest.state_dict()); }, "of the mode min", "is max");
  refused<rt::ValueError>([&] { highest.load_state_dict(cosine.state_dict()); },
                          "of the schedule CosineAnnealingLR, but this one is ReduceLROnPlateau");
  rt::EarlyStopping least({.mode = "min"}), most({.mode = "max"});
  refused<rt::ValueError>([&] { most.load_state_dict(least.state_dict()); }, "of the mode min", "is max");
  BOOST_CHECK_NO_THROW(rt::EarlyStopping({.mode = "min"}).load_state_dict(least.state_dict()));

  // States of earlier versions have no label.
  rt::StateDict earlier = cosine.state_dict();
  BOOST_TEST(earlier.erase("schedule.CosineAnnealingLR") == 1);
  BOOST_CHECK_NO_THROW(cosine.load_state_dict(earlier));
}

BOOST_AUTO_TEST_CASE(data_functions_name_the_argument) {
  const rt::Tensor none, x = rt::ones({3});
  refused<rt::ValueError>([&] { rt::Dataset(none, x); }, "Dataset: the tensor of inputs is undefined");
  refused<rt::ValueError>([&] { rt::Dataset(x, none); }, "Dataset: the tensor of targets is undefined");
  refused<rt::ValueError>([&] { rt::weighted_sampler(none); }, "weighted_sampler: weights is undefined");
  refused<rt::ValueError>([&] { rt::length_sampler(none, 1); }, "length_sampler: lengths is undefined");
  refused<rt::ValueError>([&] { rt::class_counts(none, 2); }, "class_counts: labels is undefined");
  refused<rt::ValueError>([&] { rt::class_counts(rt::zeros({1}, rt::DType::int64), huge); },
                          "class_counts: 9223372036854775807 classes");
  refused<rt::ValueError>(
      [&] {
        rt::class_weights(rt::tensor(std::vector<double>{infinity, 1.0}));
      },
      "class_weights: a count is inf; it must be finite");
  refused<rt::TypeError>([&] { rt::class_weights(x, rt::DType::int64); }, "class_weights:", "not int64");
  refused<rt::ValueError>([&] { rt::normalize(std::vector<double>{not_a_number}, std::vector<double>{1}); },
                          "normalize: a mean is nan");
  refused<rt::ValueError>([&] { rt::init::normal_(rt::ones({2}), not_a_number, 1); }, "normal_: the mean is");
  rt::Generator generator(1);
  for (const auto& [name, transform] :
       {std::pair<const char*, rt::BatchTransform>{"random_crop", rt::random_crop(1)},
        {"random_horizontal_flip", rt::random_horizontal_flip(0.5)},
        {"cutout", rt::cutout(1)},
        {"normalize", rt::normalize(0, 1)}})
    refused<rt::ValueError>([&] { transform(rt::Batch{}, generator); }, name,
                            ": the batch's input is undefined");
  refused<rt::TypeError>([] { rt::parse_csv("1,2\n", {.dtype = rt::DType::int64}); }, "parse_csv: dtype is");
}

BOOST_AUTO_TEST_SUITE_END()
