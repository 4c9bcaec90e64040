// The texts of the messages of common mistakes.
#include <boost/test/unit_test.hpp>
#include <limits>
#include <new>
#include <retort/retort.hpp>
#include <string>
#include <vector>

#include <retort/framework/base/counted.hpp>

#include "framework/io/files.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

BOOST_AUTO_TEST_SUITE(messages)

BOOST_AUTO_TEST_CASE(of_tensors_and_gradients) {
  BOOST_TEST(thrown_text<ShapeError>([] { (void)ones({3}).item<float>(); }) ==
             "item: shape (3) has 3 elements, not one; use values(), or reduce it");
  BOOST_TEST(thrown_text<TypeError>([] { arange(3).set_requires_grad(); }) ==
             "set_requires_grad: a tensor of dtype int64 has no gradient; convert it with to()");
  BOOST_TEST(contains(thrown_text<GraphError>([] { sum(ones({3})).backward(); }),
                      "call set_requires_grad() on a leaf"));
  const auto f = [](const Tensors&) { return ones({1}, DType::float64); };
  BOOST_TEST(thrown_text<ValueError>([&] { (void)gradcheck(f, {}); }) ==
             "gradcheck: no input is float64, so there is nothing to check");
  BOOST_CHECK_THROW((void)gradgradcheck(f, {arange(3)}), ValueError);
}

BOOST_AUTO_TEST_CASE(of_one_and_of_many) {
  BOOST_TEST(detail::counted(1, "row") == "1 row");
  BOOST_TEST(detail::counted(0, "row") == "0 rows");
  BOOST_TEST(detail::counted(std::size_t{2}, "input channel") == "2 input channels");
  BOOST_TEST(detail::counted(3, "class") == "3 classes");
  BOOST_TEST(detail::counted(3, "batch") == "3 batches");
  BOOST_TEST(detail::counted(3, "epoch") == "3 epochs");
  BOOST_TEST(detail::counted(3, "entry") == "3 entries");
  BOOST_TEST(thrown_text<IndexError>([] { (void)Dataset(ones({1}), ones({1})).slice(0, 2); }) ==
             "Dataset::slice: begin is 0 and end 2; it must be that 0 <= begin <= end <= 1");
  BOOST_TEST(thrown_text<ShapeError>([] { (void)tensor({1.0F}, {2}); }) ==
             "tensor: 1 value cannot fill shape (2), which has 2 elements");
  BOOST_TEST(thrown_text<ValueError>([] { (void)topk(ones({1}), 2); }) ==
             "topk: k is 2; dim -1 of shape (1) has 1 element");
  BOOST_TEST(thrown_text<ValueError>([] {
               (void)chunk(zeros({0}), std::numeric_limits<std::int64_t>::max());
             }) == "chunk: n is 9223372036854775807; an empty dimension gives at most 1048576 parts");
}

BOOST_AUTO_TEST_CASE(of_empty_dimensions) {
  const Tensor none = ones({2, 0});
  const std::string rest = ": shape (2, 0) has no element along dim ";
  BOOST_TEST(thrown_text<ValueError>([&] { (void)max(none, 1); }) == "max" + rest + "1");
  BOOST_TEST(thrown_text<ValueError>([&] { (void)min(none, -1); }) == "min" + rest + "-1");
  BOOST_TEST(thrown_text<ValueError>([&] { (void)argmax(none, 1); }) == "argmax" + rest + "1");
  BOOST_TEST(thrown_text<IndexError>([&] { (void)max(none, 2); }).starts_with("max: dim 2"));
  const std::string empty = ": shape (2, 0) has no element";
  BOOST_TEST(thrown_text<ValueError>([&] { (void)argmax(none); }) == "argmax" + empty);
  BOOST_TEST(thrown_text<ValueError>([&] {
               (void)norm(none, std::numeric_limits<double>::infinity(), {1});
             }).starts_with("norm: "));
  for (const auto& [name, call] :
       {std::pair<const char*, Tensor (*)(const Tensor&)>{"max", max}, {"min", min}})
    BOOST_TEST(
        thrown_text<ValueError>([&, f = call] { (void)f(none); }).starts_with(name + std::string(": ")));
}

BOOST_AUTO_TEST_CASE(of_indices_and_paddings) {
  const Tensor x = ones({2, 3}), index = tensor({0, 1, 2, 0, 3, 1}, {2, 3}), one = tensor({0, 5});
  const std::string place = ": index 3 at position (1, 1) is out of range for a dimension of extent 3";
  BOOST_TEST(thrown_text<IndexError>([&] { (void)gather(x, 1, index); }) == "gather" + place);
  BOOST_TEST(thrown_text<IndexError>([&] { (void)scatter_add(x, 1, index, x); }) == "scatter_add" + place);
  BOOST_TEST(thrown_text<IndexError>([&] { (void)embedding(index, ones({3, 4})); }) == "embedding" + place);
  BOOST_TEST(thrown_text<IndexError>([&] { (void)one_hot(index, 3); }) == "one_hot" + place);
  BOOST_TEST(thrown_text<IndexError>([&] { (void)index_select(x, 1, one); }) ==
             "index_select: index 5 at position 1 is out of range for a dimension of extent 3");
  const Tensor images = ones({1, 3, 2, 3});
  BOOST_TEST(contains(thrown_text<IndexError>([&] {
                        cross_entropy(images, reshape(index, {1, 2, 3}));
                      }),
                      "class index 3 at position (0, 1, 1) of target"));
  BOOST_TEST(thrown_text<ShapeError>([&] {
               (void)pad(x, {-1, -3});
             }) == "pad: -1 and -3 remove more than the 3 elements along dim 1 of shape (2, 3)");
  BOOST_TEST(thrown_text<ShapeError>([&] {
               (void)pad(x, {std::numeric_limits<std::int64_t>::max(), 1});
             }) == "pad: 9223372036854775807 and 1 enlarge dim 1 of shape (2, 3) beyond 64 bits");
}

BOOST_AUTO_TEST_CASE(of_layers) {
  BatchNorm1d norm(2);
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        (void)norm(ones({1, 2}));
                      }),
                      "use .drop_last or eval()"));
}

BOOST_AUTO_TEST_CASE(of_inputs_with_another_number_of_channels) {
  const Tensor image = ones({1, 3, 8, 8}), line = ones({2, 3, 8});
  const auto text = [](const auto& layer, const Tensor& x) {
    return thrown_text<ShapeError>([&] { (void)layer(x); });
  };
  BOOST_TEST(
      text(Conv2d(4, 5, 3), image) ==
      "conv2d: the input has 3 channels (shape (1, 3, 8, 8)), but the weight is for 4 (shape (5, 4, 3, "
      "3))");
  BOOST_TEST(
      text(Conv2d(4, 8, 3, {.groups = 2}), image) ==
      "conv2d: the input has 3 channels (shape (1, 3, 8, 8)), but the weight is for 4 (shape (8, 2, 3, "
      "3), groups = 2)");
  BOOST_TEST(contains(text(Conv2d(6, 6, 3, {.groups = 6}), image), "3 channels"));
  BOOST_TEST(text(Conv1d(1, 5, 3), line) ==
             "conv1d: the input has 3 channels (shape (2, 3, 8)), but the weight is for 1 (shape (5, 1, 3))");
  BOOST_TEST(
      text(ConvTranspose2d(4, 6, 3, {.groups = 2}), image) ==
      "conv_transpose2d: the input has 3 channels (shape (1, 3, 8, 8)), but the weight is for 4 (shape "
      "(4, 3, 3, 3), groups = 2)");
  const auto grouped = [&](const Tensor& weight, std::int64_t groups) {
    return thrown_text<ValueError>([&] { (void)conv2d(image, weight, {}, {.groups = groups}); });
  };
  BOOST_TEST(grouped(ones({5, 1, 3, 3}), 3) ==
             "conv2d: groups is 3; it must divide the 3 input and the 5 output channels (input (1, 3, 8, 8), "
             "weight (5, 1, 3, 3))");
  BOOST_TEST(grouped(ones({5, 3, 3, 3}), 0) == "conv2d: groups is 0; it must be at least 1");
  BOOST_TEST(contains(grouped(ones({5, 3, 3, 3}), std::numeric_limits<std::int64_t>::max()), "must divide"));
  BOOST_TEST(contains(text(PReLU(4), image), "shape (1, 3, 8, 8) and the weight (4)"));
}

BOOST_AUTO_TEST_CASE(of_options_that_were_left_out) {
  SGD optimizer({ones({1}).set_requires_grad()}, {.lr = 0.1});
  const auto text = [](const auto& make) { return thrown_text<ValueError>(make); };
  BOOST_TEST(text([&] { StepLR(optimizer, {}); }) ==
             "StepLR: step_size is 0; it must be given and at least 1");
  BOOST_TEST(text([&] { CosineAnnealingLR(optimizer, {}); }) ==
             "CosineAnnealingLR: T_max is 0; it must be given and at least 1");
  BOOST_TEST(text([&] { CosineAnnealingWarmRestarts(optimizer, {}); }) ==
             "CosineAnnealingWarmRestarts: T_0 is 0; it must be given and at least 1");
}

BOOST_AUTO_TEST_CASE(of_options_that_are_strings) {
  const auto text = [](const auto& make) { return thrown_text<ValueError>(make); };
  BOOST_TEST(text([] { RNN(2, 3, {.nonlinearity = "gelu"}); }) ==
             "RNN: nonlinearity is 'gelu'; it must be tanh or relu");
  BOOST_TEST(text([] { EarlyStopping({.mode = ""}); }) == "EarlyStopping: mode is ''; it must be min or max");
  BOOST_TEST(text([] { TransformerEncoderLayer(4, 2, {.activation = "elu"}); }) ==
             "TransformerEncoderLayer: activation is 'elu'; it must be relu or gelu");
}

BOOST_AUTO_TEST_CASE(of_attention_options_out_of_range) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const Tensor q = ones({1, 2, 4});
  const auto text = [](const auto& make) { return thrown_text<ValueError>(make); };
  BOOST_TEST(text([&] { (void)scaled_dot_product_attention(q, q, q, {.scale = inf}); }) ==
             "scaled_dot_product_attention: scale is inf; it must be a finite number");
  BOOST_TEST(text([] { MultiheadAttention(4, 2, {.dropout = 1.5}); }) ==
             "MultiheadAttention: dropout is 1.5; it must be between 0 and 1");
}

BOOST_AUTO_TEST_CASE(of_lengths_beyond_the_steps) {
  const auto text = [](const auto& layer) {
    return thrown_text<ValueError>([&] { (void)layer(ones({2, 5, 3}), {.lengths = tensor({5, 6})}); });
  };
  BOOST_TEST(text(LSTM(3, 2)) == "LSTM: length 6 of sequence 1 is out of range [0, 5]");
  BOOST_TEST(text(GRU(3, 2)) == "GRU: length 6 of sequence 1 is out of range [0, 5]");
}

BOOST_AUTO_TEST_CASE(of_memory_that_does_not_suffice) {
  const std::int64_t padding = std::int64_t{1} << 22;
  const Tensor image = ones({1, 1, 4, 4}), weight = ones({1, 1, 3, 3});
  const auto text = [](const auto& call) { return thrown_text<std::bad_alloc>(call); };
  BOOST_TEST(
      text([&] { (void)conv2d(image, weight, {}, {.padding = padding}); }) ==
      "conv2d: out of memory: images of shapes (1, 1, 4, 4) and (1, 1, 8388610, 8388610), or the former with "
      "a padding of (4194304, 4194304), are too large");
  // The result is small, but not the padded image. AddressSanitizer ends a program in which new fails.
  if (!sanitized)
    BOOST_TEST(
        contains(text([&] { (void)conv2d(image, weight, {}, {.padding = padding, .dilation = padding}); }),
                 "conv2d: out of memory: images of shapes (1, 1, 4, 4) and (1, 1, 4, 4)"));
  BOOST_TEST(contains(text([&] { (void)conv_transpose2d(image, weight, {}, {.stride = padding}); }),
                      "conv_transpose2d: out of memory: images of shapes (1, 1, 12582915, 12582915) and "
                      "(1, 1, 4, 4)"));
  BOOST_TEST(text([&] {
               (void)pad(image, {padding, padding, padding, padding});
             }) ==
             "pad: out of memory: a tensor of shape (1, 1, 8388612, 8388612) and type float32 needs "
             "281475245146176 bytes");
}

BOOST_AUTO_TEST_CASE(of_results_that_do_not_fit_into_memory) {
  constexpr std::int64_t half = std::int64_t{1} << 23, whole = half * half;
  const Tensor column = zeros({half, 1}), row = zeros({1, half});
  const auto check = [](const std::string& name, const auto& call, const std::string& rest = "") {
    const std::string text = thrown_text<std::bad_alloc>(call);
    BOOST_TEST(text.starts_with(name + ": out of memory: a "), text);
    BOOST_TEST(contains(text, rest), text);
  };
  check(
      "zeros",
      [] {
        (void)zeros({half, half}, DType::int64);
      },
      "tensor of shape (8388608, 8388608) and type int64 needs 562949953421312 bytes");
  check("full", [] { (void)full({half, half}, 1); });
  check("randn", [] { (void)randn({half, half}); });
  check("arange", [] { (void)arange(whole); });
  check("add", [&] { (void)(column + row); });
  check("less", [&] { (void)less(column, row); });
  check("where", [&] { (void)where(less(column, 1), row, column); });
  check("logaddexp", [&] { (void)logaddexp(column, row); });
  check("matmul", [&] { (void)matmul(column, row); });
  check("linear", [&] { (void)linear(column, reshape(row, {half, 1})); });
  check("broadcast_to", [&] { (void)broadcast_to(column, {half, half}); });
  check(
      "repeat",
      [&] {
        (void)repeat(column, {1, half});
      },
      "result of shape (8388608, 8388608)");
  check("cdist", [&] { (void)cdist(column, reshape(row, {half, 1})); });
  check("one_hot", [] { (void)one_hot(tensor({0}), whole); });
  BOOST_TEST(thrown_text<ShapeError>([] {
               (void)matmul(zeros({1 << 30, 0}), zeros({0, 1 << 30}));
             }) == "matmul: shape (1073741824, 1073741824): too many elements");
  // If memory runs out in a rule, the error names the operation of the rule.
  const Tensor x = zeros({2}).set_requires_grad();
  const Tensor y = record({.name = "own", .inputs = {x}, .value = x.clone(), .vjp = [](const Tensor&, Needs) {
                             return empty({half, half});
                           }});
  check("own", [&] { (void)grad({sum(y)}, {x}); });
  BOOST_TEST(contains(thrown_text<std::bad_alloc>([] {
                        (void)empty({half, half});
                      }),
                      "out of memory: a tensor"));
}

BOOST_AUTO_TEST_CASE(of_dropout_without_effect) {
  std::vector<std::string> warnings;
  const WarningHandler before =
      set_warning_handler([&](std::string_view text) { warnings.emplace_back(text); });
  LSTM(2, 3, {.num_layers = 2, .dropout = 0.5});
  LSTM(2, 3);
  BOOST_TEST(warnings.empty());
  LSTM(2, 3, {.dropout = 0.5});
  GRU(2, 3, {.dropout = 0.25});
  set_warning_handler(before);
  BOOST_TEST(warnings.size() == 2U);
  BOOST_TEST(
      warnings.front() ==
      "LSTM: dropout is 0.5 but has no effect with 1 layer: it follows each layer except the last; apply "
      "Dropout to the output, or give more layers");
  BOOST_TEST(warnings.back().starts_with("GRU: dropout is 0.25"));
}

BOOST_AUTO_TEST_CASE(of_masks_that_are_not_0_or_1) {
  const Tensor q = ones({1, 2, 4}), two = tensor({1, 0, 1, 2}, {2, 2});
  BOOST_TEST(thrown_text<ValueError>([&] { (void)scaled_dot_product_attention(q, q, q, {.mask = two}); }) ==
             "scaled_dot_product_attention: the mask is 2 at position (1, 1); it must be 0 or 1");
  const MultiheadAttention attention(4, 2);
  BOOST_TEST(thrown_text<ValueError>([&] {
               (void)attention(q, q, q, {.mask = two});
             }).starts_with("MultiheadAttention: the mask is 2 at position (1, 1)"));
  BOOST_TEST(thrown_text<ValueError>([&] {
               (void)distillation_loss({.student = q, .teacher = q, .mask = tensor({1, 2}, {1, 2})});
             }) == "distillation_loss: .mask is 2 at position (0, 1); it must be 0 or 1");
}

BOOST_AUTO_TEST_CASE(of_layers_made_of_layers) {
  const Tensor x = ones({2, 3, 4}), keys = ones({2, 3}, DType::int64);
  for (const bool norm_first : {false, true}) {
    const TransformerEncoderLayer layer(4, 2, {.dim_feedforward = 8, .norm_first = norm_first});
    AttentionCache cache;
    const auto text = [&](const Tensor& input, const AttentionMasks& masks) {
      return thrown_text<Error>([&] { layer(input, masks); });
    };
    const std::string name = "TransformerEncoderLayer: ";
    BOOST_TEST(text(ones({2, 3, 5}), {}) == name + "the input has shape (2, 3, 5); it must be (N, L, 4)");
    BOOST_TEST(thrown_text<ShapeError>([&] {
                 layer(ones({3, 4}), cache);
               }) == name + "the input has shape (3, 4); it must be (N, L, 4)");
    BOOST_TEST(text({}, {}).starts_with(name + "the input is undefined"));
    BOOST_TEST(text(arange(4), {}).starts_with(name + "the input is int64"));
    const std::string mask =
        name + "the mask has shape (5, 5); it must broadcast to (N, heads, L, S) = (2, 2, 3, 3)";
    BOOST_TEST(text(x, {.mask = ones({5, 5})}) == mask);
    BOOST_TEST(text(x, {.key_mask = keys, .mask = ones({5, 5})}) == mask);
    BOOST_TEST(text(x, {.key_mask = ones({2, 4}, DType::int64)}) ==
               name + "the key_mask has shape (2, 4); it must be (N, S) = (2, 3)");
    layer(x, cache);
    BOOST_TEST(thrown_text<ShapeError>([&] {
                 layer(ones({1, 1, 4}), cache);
               }).starts_with(name + "x has shape (1, 1, 4) but the cache holds"));
  }
  BOOST_TEST(thrown_text<ValueError>([] { TransformerEncoderLayer(4, 3); }) ==
             "TransformerEncoderLayer: d_model is 4 and there are 3 heads; both must be at least 1, and the "
             "heads must divide it");
  const MultiheadAttention attention(4, 2);
  for (const Tensor& key_mask : {Tensor(), keys})
    BOOST_TEST(thrown_text<ShapeError>([&] {
                 (void)attention.weights(x, x, {.key_mask = key_mask, .mask = ones({5, 5})});
               }).starts_with("MultiheadAttention: the mask has shape (5, 5)"));
}

BOOST_AUTO_TEST_CASE(of_options_as_large_as_an_int64) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const Tensor image = ones({1, 1, 4, 4}), kernel = ones({1, 1, 2, 2}), line = ones({1, 1, 4});
  const auto named = [](const char* name, const auto& call) {
    BOOST_TEST(contains(thrown_text<ShapeError>(call), name + std::string(": input has shape (1, 1, 4")));
  };
  for (const std::int64_t size : {most, most / 2, std::int64_t{1} << 56}) {
    named("conv2d", [&] { (void)conv2d(image, kernel, {}, {.padding = size}); });
    named("conv2d", [&] { (void)conv2d(image, kernel, {}, {.padding = {size, 0}}); });
    named("conv2d", [&] { (void)conv2d(image, kernel, {}, {.stride = size, .padding = size}); });
    named("conv2d", [&] { (void)conv2d(image, kernel, {}, {.padding = size, .dilation = size}); });
    named("conv2d", [&] { (void)conv2d(image, kernel, {}, {.dilation = size}); });
    named("conv1d", [&] { (void)conv1d(line, ones({1, 1, 2}), {}, {.padding = size}); });
    for (const ConvTranspose2dFunctionalOptions& options :
         {ConvTranspose2dFunctionalOptions{.stride = size}, {.padding = size}, {.dilation = size}})
      named("conv_transpose2d", [&] { (void)conv_transpose2d(image, kernel, {}, options); });
    BOOST_TEST(contains(thrown_text<ShapeError>([&] { (void)reshape(image, {size, size}); }), "reshape: "));
    BOOST_TEST(slice(image, 2, 1, size, size).shape() == (Shape{1, 1, 1, 4}));
  }
  BOOST_TEST(avg_pool2d(image, {.kernel_size = most, .padding = most / 2}).shape() == (Shape{1, 1, 1, 1}));
}

BOOST_AUTO_TEST_CASE(of_more_dimensions_than_a_tensor_has) {
  const Tensor x = ones(Shape(8, 1)), index = zeros(Shape(8, 1), DType::int64);
  const auto refused = [](const char* name, const auto& call) {
    BOOST_TEST(thrown_text<ShapeError>(call) ==
               name + std::string(": the result would have 9 dimensions; a tensor has at most 8"));
  };
  refused("unsqueeze", [&] { (void)unsqueeze(x, 0); });
  refused("stack", [&] { (void)stack({x, x}); });
  refused("repeat", [&] { (void)repeat(x, std::vector<std::int64_t>(9, 1)); });
  refused("one_hot", [&] { (void)one_hot(index, 2); });
  refused("embedding", [&] { (void)embedding(index, ones({2, 2})); });
  BOOST_TEST(thrown_text<ShapeError>([&] {
               (void)reshape(x, {1, 1, 1, 1, 1, 1, 1, 1, 1});
             }) == "Shape: a list of more than 8 numbers; a tensor has at most 8 dimensions");
}

BOOST_AUTO_TEST_CASE(of_data_and_metrics) {
  BOOST_TEST(thrown_text<IndexError>([] { (void)Dataset(ones({5}), ones({5})).slice(2, 7); }) ==
             "Dataset::slice: begin is 2 and end 7; it must be that 0 <= begin <= end <= 5");
  BOOST_TEST(thrown_text<ValueError>([] {
               (void)weighted_sampler(tensor({1.0, -1.0}));
             }) == "weighted_sampler: weight -1 at position 1 is not a finite number of at least 0");
  BOOST_TEST(thrown_text<ValueError>([] {
               (void)class_counts(tensor({0, 1, 3}), 3);
             }) == "class_counts: class index 3 at position 2 is out of range [0, 3)");
  BOOST_TEST(thrown_text<IndexError>([] {
               (void)metrics::accuracy(ones({2, 3}), tensor({0, 3}));
             }) == "accuracy: label 3 at position 1 is out of range [0, 3)");
}

BOOST_AUTO_TEST_CASE(of_sparse_teachers) {
  const Tensor logits = ones({2, 4});
  SparseTeacher teacher = sparse_teacher(logits, 2, 1);
  teacher.classes = 0;
  BOOST_TEST(thrown_text<ValueError>([&] {
               (void)sparse_distillation_loss({.student = logits, .teacher = teacher});
             }) == "sparse_distillation_loss: the teacher's .classes is missing");
  BOOST_TEST(thrown_text<ValueError>([&] { (void)dense_logits(teacher); }) ==
             "dense_logits: the teacher's .classes is missing");
}

BOOST_AUTO_TEST_CASE(of_distillation_losses) {
  const Tensor logits = ones({4, 3}), labels = zeros({4}, DType::int64), rows = ones({4}), wrong = arange(4);
  const DistillationInputs good = {.student = logits, .teacher = logits, .labels = labels};
  const auto refused = [&](Tensor DistillationInputs::*field, const Tensor& value, const std::string& text) {
    DistillationInputs inputs = good;
    inputs.*field = value;
    BOOST_TEST(thrown_text<Error>([&] { distillation_loss(inputs, {.alpha = 0.5}); }) ==
               "distillation_loss: " + text);
    BOOST_TEST(thrown_text<Error>([&] {
                 decoupled_distillation_loss(inputs);
               }).starts_with("decoupled_distillation_loss: " + text.substr(0, 20)));
  };
  refused(&DistillationInputs::labels, wrong,
          "class index 3 at position 3 of .labels is out of range [0, 3)");
  refused(&DistillationInputs::labels, rows, "the .labels must be int64, not float32");
  refused(&DistillationInputs::labels, zeros({3}, DType::int64),
          ".student has shape (4, 3) but .labels has shape (3); expected (4)");
  refused(&DistillationInputs::mask, wrong, ".mask is 2 at position 2; it must be 0 or 1");
  refused(&DistillationInputs::weight, ones({3}),
          ".student has shape (4, 3) but .weight has shape (3); expected (4)");
  refused(&DistillationInputs::teacher, ones({4, 2}),
          ".student has shape (4, 3) but .teacher has shape (4, 2); they must be equal");
  BOOST_TEST(thrown_text<IndexError>([&] { cross_entropy(logits, wrong); }) ==
             "cross_entropy: class index 3 at position 3 of target is out of range [0, 3)");
}

BOOST_AUTO_TEST_CASE(of_norms_and_softmax) {
  const Tensor x = ones({2, 6, 5, 5});
  BOOST_TEST(thrown_text<ShapeError>([&] { BatchNorm2d(5)(x); }) ==
             "BatchNorm2d: input has shape (2, 6, 5, 5), 6 channels; the layer is for 5");
  BOOST_TEST(thrown_text<ValueError>([&] { group_norm(x, -2); }) ==
             "group_norm: the number of groups is -2; it must be at least 1");
  BOOST_TEST(
      thrown_text<ShapeError>([&] { layer_norm(x, {}); }) ==
      "layer_norm: normalized_shape is empty; give the last dimensions of the input, shape (2, 6, 5, 5)");
  BOOST_TEST(thrown_text<TypeError>([&] { softmax(x, 1, DType::int64); }) ==
             "softmax: the option dtype is int64; it must be float32 or float64");
}

BOOST_AUTO_TEST_CASE(of_run_folders) {
  const TemporaryFolder folder;
  { const RunFolder run(folder / "a", {{"lr", 0.1}, {"data", "a"}}); }
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        const RunFolder run(folder / "a", {{"lr", 0.2}, {"data", "a"}});
                      }),
                      "(\"lr\" is 0.1 there, 0.2 now)"));
  const RunFolder run(folder / "a", {{"lr", 0.1}, {"data", "a"}});
  BOOST_TEST(
      thrown_text<Error>([&] {
        const RunFolder second(folder / "b", {});
      }).starts_with("RunFolder: only one RunFolder or InterruptGuard can exist in a process at a time"));
}

BOOST_AUTO_TEST_SUITE_END()
