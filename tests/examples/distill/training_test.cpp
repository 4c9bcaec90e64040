#include "distill/run/training.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <retort/retort.hpp>
#include <set>
#include <vector>

#include "distill/run/selection.hpp"
#include "tests_support.hpp"

namespace {

using namespace distill;
using retort::tests::thrown_text;

/// Images whose pixels reveal their class, and a teacher that has learned half of it.
struct Made {
  explicit Made(std::int64_t count) {
    retort::manual_seed(5);
    std::vector<std::int64_t> classes;
    for (std::int64_t i = 0; i < count; ++i) classes.push_back(i % 3);
    const retort::Tensor labels = retort::tensor(classes);
    const retort::Tensor bright = retort::one_hot(labels, 3).to(retort::DType::float32);
    data.train = retort::Dataset(
        retort::rand({count, 12}) + retort::concat({bright, bright, bright, bright}, 1), labels);
    examples = with_answers(data.train, retort::randn({count, 3}) + 2 * bright);
    data.test = data.train;
    data.pixels = 12;
    data.classes = 3;
    options.quiet = true;
    options.student_width = 8;
    options.batch_size = 16;
  }
  Mlp student(Way way, const Recipe& recipe, std::uint64_t seed = 3) {
    return train_student(way, recipe, examples, data, options, seed, nullptr);
  }

  retort::Dataset examples = {};
  Data data = {};
  Options options = {};
};

double largest_difference(const Mlp& a, const Mlp& b) {
  const retort::Tensors left = a.parameters(), right = b.parameters();
  BOOST_REQUIRE(left.size() == right.size());
  double largest = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    const auto x = left[i].data<float>(), y = right[i].data<float>();
    BOOST_REQUIRE(x.size() == y.size());
    for (std::size_t k = 0; k < x.size(); ++k) largest = std::max<double>(largest, std::abs(x[k] - y[k]));
  }
  return largest;
}

constexpr Recipe some_epochs = {.lr = 0.01, .epochs = 4, .weight_decay = 0.1, .dropout = 0.2};

BOOST_AUTO_TEST_SUITE(example_distill_training)

BOOST_AUTO_TEST_CASE(fused_and_composed_losses_agree) {
  Made made(40);
  const retort::Tensor logits = retort::randn({40, 3});
  const retort::Batch batch = made.examples.rows(retort::arange(40).values<std::int64_t>());
  for (const double alpha : {0.0, 0.3, 1.0}) {
    const double composed =
        distillation_loss(logits, batch, {.temperature = 3, .alpha = alpha}, false).item<double>();
    const double fused =
        distillation_loss(logits, batch, {.temperature = 3, .alpha = alpha}, true).item<double>();
    BOOST_TEST(composed == fused, boost::test_tools::tolerance(1e-5));
  }
}

BOOST_AUTO_TEST_CASE(fused_and_composed_losses_train_the_same_student) {
  Made made(100);
  made.options.temperature = 3;
  made.options.alpha = 0.7;
  const Mlp composed = made.student(Way::distilled, some_epochs);
  made.options.fused = true;
  const Mlp fused = made.student(Way::distilled, some_epochs);
  BOOST_TEST(largest_difference(composed, fused) < 1e-4);
  made.options.alpha = 0.2;
  BOOST_TEST(largest_difference(composed, made.student(Way::distilled, some_epochs)) > 1e-3);
}

BOOST_AUTO_TEST_CASE(both_ways_begin_with_one_network_and_see_the_same_batches) {
  Made made(100);
  made.options.alpha = 0;  // no teacher: the result must equal the student alone
  const Mlp alone = made.student(Way::alone, some_epochs);
  BOOST_TEST(largest_difference(alone, made.student(Way::distilled, some_epochs)) < 1e-6);
  BOOST_TEST(largest_difference(alone, made.student(Way::alone, some_epochs, 4)) > 1e-3);
}

BOOST_AUTO_TEST_CASE(a_student_learns) {
  Made made(300);
  const Recipe recipe = {.lr = 0.02, .epochs = 20, .weight_decay = 0.0, .dropout = 0.0};
  for (const Way way : {Way::alone, Way::distilled}) {
    const Mlp student = made.student(way, recipe);
    BOOST_TEST(!student.is_training());
    BOOST_TEST(measure(student, made.examples).accuracy > 0.9, name(way));
  }
}

BOOST_AUTO_TEST_CASE(a_training_that_diverges_is_an_error) {
  Made made(50);
  made.examples["teacher"].mutable_data<float>()[0] = std::nanf("");
  const std::string said =
      thrown_text<retort::ValueError>([&] { made.student(Way::distilled, some_epochs); });
  BOOST_TEST(said.find("student 3 distilled diverged in epoch 1") != std::string::npos, said);
}

BOOST_AUTO_TEST_CASE(logits_in_parts_are_the_logits) {
  const Mlp model({12, 5, 3}, 0);
  const retort::Tensor images = retort::rand({5000, 12});
  const retort::Tensor parts = logits_of(model, images),
                       whole = retort::no_grad([&] { return model(images); });
  BOOST_TEST(parts.shape() == whole.shape());
  BOOST_TEST(retort::max(retort::abs(parts - whole)).item<float>() < 1e-6);
}

BOOST_AUTO_TEST_CASE(a_draw_is_the_seeds_and_without_repetition) {
  Made made(50);
  // The label identifies the row.
  const retort::Dataset all =
      with_answers({made.data.train.inputs(), retort::arange(50)}, made.examples["teacher"]);
  const auto first = draw(all, 20, 1).targets().values<std::int64_t>();
  BOOST_TEST(draw(all, 20, 1).targets().values<std::int64_t>() == first);
  BOOST_TEST(draw(all, 20, 2).targets().values<std::int64_t>() != first);
  BOOST_TEST(std::set<std::int64_t>(first.begin(), first.end()).size() == 20U);
  const retort::Dataset drawn = draw(all, 20, 1);
  for (std::int64_t i = 0; i < 20; ++i)
    for (const auto& [part, whole] :
         {std::pair(drawn.inputs(), all.inputs()), {drawn["teacher"], all["teacher"]}})
      BOOST_TEST(retort::select(part, 0, i).values<float>() ==
                 retort::select(whole, 0, first[static_cast<std::size_t>(i)]).values<float>());
}

BOOST_AUTO_TEST_CASE(selection_takes_the_best_of_its_grid_and_leaves_the_test_set_alone) {
  Made made(400);
  made.data.test = retort::Dataset();  // reading it fails
  made.options.student_images = 60;
  made.options.teacher_width = 16;
  made.options.teacher = {.lr = 0.01, .epochs = 10, .weight_decay = 0.0, .dropout = 0.0};
  const Grid grid = {.lr = {1e-5, 0.05},
                     .epochs = {2, 20},
                     .weight_decay = {0.0},
                     .dropout = {0.0, 0.1},
                     .seeds = 2,
                     .held_out = 100};
  const Selection selection = select(made.data, made.options, grid);
  BOOST_REQUIRE_EQUAL(selection.candidates.size(), 8U);
  for (const auto& [way, chosen] :
       {std::pair(&Candidate::alone, selection.alone), {&Candidate::distilled, selection.distilled}}) {
    BOOST_TEST(chosen.lr == 0.05);
    const auto same = [&, chosen = chosen](const Candidate& candidate) {
      const Recipe& recipe = candidate.recipe;
      return recipe.lr == chosen.lr && recipe.epochs == chosen.epochs && recipe.dropout == chosen.dropout;
    };
    const auto best = std::ranges::find_if(selection.candidates, same);
    for (const Candidate& candidate : selection.candidates)
      BOOST_TEST((candidate.*way).accuracy <= ((*best).*way).accuracy);
  }
  BOOST_TEST(selection.teacher_accuracy > 0.8);

  const std::string page = page_of(selection, made.options, grid, 1);
  BOOST_TEST(page.find("    --alone-epochs ") != std::string::npos, page);
  BOOST_TEST(page.find("    --distilled-epochs ") != std::string::npos, page);

  made.options.student_images = 301;
  BOOST_TEST(thrown_text<retort::ValueError>([&] {
               select(made.data, made.options, grid);
             }).find("100 are held out") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
