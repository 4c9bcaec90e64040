// The subcommands, and teachers that come from files.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <retort/retort.hpp>
#include <set>
#include <sstream>

#include "distill/run/model_files.hpp"
#include "distill/run/training.hpp"
#include "program.hpp"
#include "tests_support.hpp"

namespace {

namespace rt = retort;
using namespace retort::tests;
using nlohmann::json;
using rt::Tensor;

/// Layers of these sizes under these names.
rt::StateDict layers(const std::vector<std::string>& names, const std::vector<std::int64_t>& sizes) {
  rt::StateDict state;
  for (std::size_t i = 0; i < names.size(); ++i) {
    state[names[i] + ".weight"] = rt::randn({sizes[i + 1], sizes[i]});
    state[names[i] + ".bias"] = rt::randn({sizes[i + 1]});
  }
  return state;
}

/// The output of the named layers in order, with ReLU between them.
Tensor applied(const rt::StateDict& state, const std::vector<std::string>& names, Tensor x) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) x = rt::relu(x);
    const Tensor bias = state.contains(names[i] + ".bias") ? state.at(names[i] + ".bias") : Tensor();
    x = rt::linear(x, state.at(names[i] + ".weight"), bias);
  }
  return x;
}

struct WithImages {
  WithImages() {
    write_image_set(folder.path());
    data = distill::load_data(folder.path());
  }
  std::string refusal(const rt::StateDict& tensors) const {
    rt::save_safetensors(folder / "network", tensors);
    const std::string said =
        thrown_text<rt::IoError>([&] { distill::load_network(folder / "network", 36, 3); });
    BOOST_TEST(contains(said, folder / "network"), said);
    return said;
  }

  TemporaryFolder folder = {};
  distill::Data data = {};
};

BOOST_AUTO_TEST_SUITE(example_distill_tool)

BOOST_AUTO_TEST_CASE(layers_are_found_under_the_names_that_people_give_them) {
  const WithImages made;
  const Tensor images = rt::rand({20, 36});
  const std::vector<std::vector<std::string>> namings = {{"layers.0", "layers.1", "layers.2"},
                                                         {"0", "2", "4"},
                                                         {"fc1", "fc2", "fc3"},
                                                         {"fc8", "fc9", "fc10"},
                                                         {"input", "hidden", "output"},
                                                         {"net.8.lin", "net.9.lin", "net.10.lin"}};
  for (const auto& names : namings) {
    const rt::StateDict state = layers(names, {36, 20, 10, 3});
    rt::save_safetensors(made.folder / "network", state);
    const distill::Mlp network = distill::load_network(made.folder / "network", 36, 3);
    BOOST_TEST(!network.is_training());
    BOOST_TEST(distill::logits_of(network, images).values<float>() ==
               applied(state, names, images).values<float>());
  }
  // Equal sizes: the numbers in the names decide, not the order of their letters.
  rt::StateDict state = layers({"fc10", "fc2", "fc3"}, {20, 20, 20, 20});
  rt::save_safetensors(made.folder / "network", state);
  BOOST_TEST(distill::logits_of(distill::load_network(made.folder / "network", 20, 20), rt::ones({1, 20}))
                 .values<float>() ==
             applied(state, {"fc2", "fc3", "fc10"}, rt::ones({1, 20})).values<float>());
  // Layers without a bias, and half precision.
  state = layers({"0", "2"}, {36, 8, 3});
  state.erase("2.bias");
  rt::save_safetensors(made.folder / "network", state, {}, {.floats = rt::FloatStorage::float16});
  const Tensor logits = distill::logits_of(distill::load_network(made.folder / "network", 36, 3), images);
  BOOST_TEST(rt::max(rt::abs(logits - applied(state, {"0", "2"}, images))).item<float>() < 0.05);
}

BOOST_AUTO_TEST_CASE(files_that_hold_no_such_network_are_refused) {
  const WithImages made;
  BOOST_TEST(contains(made.refusal(layers({"0", "2"}, {36, 8, 4})),
                      "(0 36-8, 2 8-4) do not lead from 36 pixels to 3"));
  BOOST_TEST(contains(made.refusal(layers({"0", "2"}, {35, 8, 3})), "do not lead from 36 pixels"));
  rt::StateDict broken = layers({"0", "2"}, {36, 8, 3});
  broken["2.weight"] = rt::randn({3, 9});
  BOOST_TEST(contains(made.refusal(broken), "(0 36-8, 2 9-3) do not lead"));
  rt::StateDict more = layers({"0", "2"}, {36, 8, 3});
  more["1.running_mean"] = rt::randn({8});
  BOOST_TEST(contains(made.refusal(more), "\"1.running_mean\" of shape (8) is neither"));
  rt::StateDict short_bias = layers({"0", "2"}, {36, 8, 3});
  short_bias["0.bias"] = rt::randn({7});
  BOOST_TEST(contains(made.refusal(short_bias), "\"0.bias\" of shape (7) is neither"));
  rt::StateDict convolution = layers({"2"}, {36, 3});
  convolution["0.weight"] = rt::randn({4, 1, 3, 3});
  BOOST_TEST(contains(made.refusal(convolution), "\"0.weight\""));
  BOOST_TEST(contains(made.refusal({}), "there is none"));
  BOOST_TEST(
      contains(thrown_text<rt::IoError>([] { distill::load_network("/no/such", 36, 3); }), "/no/such"));
}

BOOST_AUTO_TEST_CASE(logits_belong_to_their_data) {
  const WithImages made;
  const std::string path = made.folder / "logits";
  const Tensor train = rt::randn({300, 3}), test = rt::randn({150, 3});
  distill::save_logits(path, {train, test}, made.data);
  BOOST_TEST(distill::load_logits(path, made.data).train.values<float>() == train.values<float>());
  BOOST_TEST(distill::load_logits(path, made.data).test.values<float>() == test.values<float>());

  const std::string checksum = distill::checksum_of(made.data.train);
  BOOST_TEST(checksum.size() == 14U);
  rt::save_safetensors(path, {{"logits", train}}, {{"checksum", checksum}},
                       {.floats = rt::FloatStorage::float16});
  const distill::TeacherLogits half = distill::load_logits(path, made.data);
  BOOST_TEST(rt::max(rt::abs(half.train - train)).item<float>() < 0.01);
  BOOST_TEST(!half.test.defined());

  const auto refusal = [&](const rt::StateDict& tensors, const rt::Metadata& metadata,
                           rt::FloatStorage floats = rt::FloatStorage::as_is) {
    rt::save_safetensors(path, tensors, metadata, {.floats = floats});
    const std::string said = thrown_text<rt::IoError>([&] { distill::load_logits(path, made.data); });
    BOOST_TEST(contains(said, path), said);
    return said;
  };
  const rt::Metadata right = {{"checksum", checksum}};
  BOOST_TEST(contains(refusal({{"logits", train}}, {}), "has no \"checksum\""));
  BOOST_TEST(
      contains(refusal({{"logits", train}}, {{"checksum", "crc32:00000000"}}),
               "belong to other data: their checksum is crc32:00000000, that of the data given " + checksum));
  BOOST_TEST(contains(refusal({{"logit", train}}, right), "holds no \"logits\""));
  BOOST_TEST(contains(refusal({{"logits", test}}, right), "of shape (150, 3)"));
  BOOST_TEST(contains(refusal({{"logits", train.to(rt::DType::float64)}}, right), "of type F64"));
  BOOST_TEST(contains(refusal({{"logits", train}}, right, rt::FloatStorage::bfloat16), "of type BF16"));
  BOOST_TEST(contains(refusal({{"logits", train * 1e6}}, right, rt::FloatStorage::float16), "not finite"));
  BOOST_TEST(
      contains(refusal({{"logits", train}, {"test_logits", test}}, right), "has no \"test_checksum\""));

  // One other pixel or label makes it another data set.
  distill::Data other = distill::load_data(made.folder.path());
  Tensor labels = other.train.targets();
  labels.mutable_data<std::int64_t>()[7] += 1;
  BOOST_TEST(distill::checksum_of(other.train) != checksum);
}

BOOST_AUTO_TEST_CASE(the_parts_give_what_the_whole_gives) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  BOOST_TEST(run(quick(folder, "whole") + "--seeds 2").status == 0);
  const std::string logits = folder / "logits.safetensors", teacher = folder / "teacher/teacher.safetensors";
  const Outcome trained =
      run("train-teacher " + places(folder, "teacher") + quick_teacher + "--save-logits '" + logits + "'");
  BOOST_TEST(trained.status == 0, trained.err);
  BOOST_TEST(read_file(teacher) == read_file(folder / "whole/teacher.safetensors"));
  BOOST_TEST(read_file(logits) == read_file(folder / "whole/teacher_logits.safetensors"));

  json whole = result_in(folder, "whole");
  whole.erase("seconds");
  for (const std::string& from : {"--teacher '" + teacher + "' ", "--teacher-logits '" + logits + "' "}) {
    const Outcome taught = run("teach " + places(folder, "taught") + quick_students + "--seeds 2 " + from);
    BOOST_TEST(taught.status == 0, taught.err);
    json result = result_in(folder, "taught");
    result.erase("seconds");
    BOOST_TEST(result == whole, from);
    BOOST_TEST(read_file(folder / "taught/distilled.safetensors") ==
               read_file(folder / "whole/distilled.safetensors"));
    // The width of a teacher from a file is not the configured one.
    BOOST_TEST(!json::parse(read_file(folder / "taught/config.json"))["teacher"].contains("width"));
  }

  const Outcome judged = run("evaluate --data '" + folder.path() + "' '" + teacher + "'");
  BOOST_TEST(judged.status == 0, judged.err);
  BOOST_TEST(contains(trained.out, judged.out));
  std::istringstream words(judged.out);
  std::map<std::string, double> figures;
  for (std::string word; words >> word;) words >> figures[word];
  for (const char* what : {"accuracy", "nll", "ece"})
    BOOST_TEST(std::abs(figures[what] - whole["teacher"][what]["mean"].get<double>()) < 1e-5);
}

BOOST_AUTO_TEST_CASE(students_learn_from_the_most_probable_classes) {
  const WithImages made;
  const auto at = [&](const std::string& name) { return made.folder / name; };
  const std::string answers = at("answers.safetensors");
  const Outcome whole = run(quick(made.folder, "whole") + "--seeds 1 --top-k 2 --temperature 3");
  BOOST_TEST(whole.status == 0, whole.err);
  const rt::SparseTeacher kept = rt::load_sparse_teacher(at("whole/teacher_sparse.safetensors"));
  BOOST_TEST(kept.indices.shape() == (rt::Shape{300, 2}));
  BOOST_TEST(kept.temperature == 3);
  BOOST_TEST(run("train-teacher " + places(made.folder, "teacher") + quick_teacher +
                 "--top-k 2 --temperature 3 --save-logits '" + answers + "'")
                 .status == 0);
  BOOST_TEST(read_file(answers) == read_file(at("whole/teacher_sparse.safetensors")));

  const std::string teach = "teach " + places(made.folder, "taught") + quick_students +
                            "--seeds 1 --teacher-logits '" + answers + "' --temperature 3 ";
  const Outcome taught = run(teach);
  BOOST_TEST(taught.status == 0, taught.err);
  BOOST_TEST(contains(taught.out, "\nteacher                 not known  "), taught.out);
  BOOST_TEST(read_file(at("taught/distilled.safetensors")) == read_file(at("whole/distilled.safetensors")));
  BOOST_TEST(!std::filesystem::exists(at("taught/teacher_logits.safetensors")));
  BOOST_TEST(run(teach + "--resume").status == 0);

  // All classes: nothing is lost.
  BOOST_TEST(run(quick(made.folder, "three") + "--seeds 1 --top-k 3").status == 0);
  BOOST_TEST(run(quick(made.folder, "dense") + "--seeds 1 --fused").status == 0);
  BOOST_TEST(std::abs(result_in(made.folder, "three")["distilled"]["nll"]["mean"].get<double>() -
                      result_in(made.folder, "dense")["distilled"]["nll"]["mean"].get<double>()) < 1e-4);

  check_refused(quick(made.folder, "out") + "--top-k 4", "--top-k is 4, but the data has 3 classes");
  check_refused(quick(made.folder, "out") + "--top-k 0", "--top-k must be between 1");
  check_refused(teach + "--top-k 1", "keeps 2 classes");
  check_refused(teach + "--temperature 2", "have the temperature 3");
  const rt::SparseTeacher other = rt::sparse_teacher(rt::randn({300, 4}), 2, 3);
  rt::save_sparse_teacher(answers, other);
  check_refused(teach, "has no \"checksum\"");
  rt::save_sparse_teacher(answers, other, {{"checksum", distill::checksum_of(made.data.train)}});
  check_refused(teach, "of 4 classes");
}

BOOST_AUTO_TEST_CASE(students_learn_with_every_divergence) {
  const WithImages made;
  const auto taught = [&](const std::string& flags) {
    const Outcome outcome = run(quick(made.folder, "out") + "--seeds 1 --temperature 3 " + flags);
    BOOST_TEST(outcome.status == 0, outcome.err);
    return read_file(made.folder / "out/distilled.safetensors");
  };
  std::set<std::string> students = {taught("--fused")};
  BOOST_TEST(students.contains(taught("--fused --divergence forward_kl")));
  for (const char* flags :
       {"--standardize", "--divergence reverse_kl", "--divergence jensen_shannon",
        "--divergence jensen_shannon --beta 0.25", "--divergence skew_kl", "--divergence skew_reverse_kl",
        "--divergence total_variation", "--divergence logit_mse",
        "--set distillation.divergence=logit_mse --standardize"})
    BOOST_TEST(students.insert(taught(flags)).second, flags);
  check_refused(quick(made.folder, "out") + "--resume", "has distillation.divergence \"logit_mse\"");

  // A sparse teacher is compared by forward KL.
  const std::string answers = made.folder / "answers.safetensors";
  rt::save_sparse_teacher(answers, rt::sparse_teacher(rt::randn({300, 3}), 2, 2),
                          {{"checksum", distill::checksum_of(made.data.train)}});
  check_refused("teach " + places(made.folder, "out") + quick_students + "--divergence skew_kl " +
                    "--teacher-logits '" + answers + "'",
                answers + " needs --divergence forward_kl");
}

BOOST_AUTO_TEST_CASE(training_images_may_judge) {
  const WithImages made;
  const distill::Data held = distill::hold_out(made.data, 100);
  BOOST_TEST(held.train.size() == 200);
  BOOST_TEST(held.test.size() == 100);
  const Outcome outcome = run(quick(made.folder, "out") + "--seeds 1 --held-out 100");
  BOOST_TEST(outcome.status == 0, outcome.err);
  BOOST_TEST(contains(outcome.out, "On the held-out training set"), outcome.out);
  const rt::StateDict predictions = rt::load_safetensors(made.folder / "out/predictions.safetensors");
  BOOST_TEST(predictions.at("labels").values<int>() == held.test.targets().values<int>());
  const std::string page = read_file(made.folder / "out/report.html");
  BOOST_TEST(contains(page, "100 held-out training images"));
  std::filesystem::remove(made.folder / "out/report.html");
  BOOST_TEST(run("report --out '" + (made.folder / "out") + "'").status == 0);
  BOOST_TEST(read_file(made.folder / "out/report.html") == page);
  check_refused(quick(made.folder, "out") + "--held-out 300",
                "--held-out is 300, but the training set has 300");
}

BOOST_AUTO_TEST_CASE(a_teacher_may_be_known_by_its_training_logits_alone) {
  const WithImages made;
  distill::save_logits(made.folder / "logits", {rt::randn({300, 3}), {}}, made.data);
  const Outcome taught = run("teach " + places(made.folder, "out") + quick_students +
                             "--seeds 2 --teacher-logits '" + (made.folder / "logits") + "'");
  BOOST_TEST(taught.status == 0, taught.err);
  BOOST_TEST(contains(taught.out, "\nteacher                 not known  "), taught.out);
  const json result = result_in(made.folder, "out");
  BOOST_TEST(result["teacher"]["accuracy"]["mean"].is_null());
  BOOST_TEST(result["distilled"]["accuracy"]["mean"].is_number());
  BOOST_TEST(!rt::load_safetensors(made.folder / "out/predictions.safetensors").contains("teacher"));
}

BOOST_AUTO_TEST_CASE(teachers_that_do_not_fit_are_refused_before_the_folder_is_touched) {
  const WithImages made;
  rt::save_safetensors(made.folder / "teacher", layers({"0"}, {36, 4}));
  distill::save_logits(made.folder / "logits", {rt::randn({300, 3}), {}}, made.data);
  write_images(made.folder.path(), "train", 300, 9);
  const std::string teach = "teach " + places(made.folder, "out") + quick_students;
  check_refused(teach + "--teacher '" + (made.folder / "teacher") + "'",
                "do not lead from 36 pixels to 3 classes");
  check_refused(teach + "--teacher-logits '" + (made.folder / "logits") + "'", "belong to other data");
  check_refused(teach + "--teacher '" + (made.folder / "none") + "'", made.folder / "none");
  check_refused(teach, "--teacher-logits");
  check_refused("evaluate --data '" + made.folder.path() + "' '" + (made.folder / "teacher") + "'",
                "do not lead");
  check_refused("train-teacher " + places(made.folder, "out") + quick_teacher + "--save-logits /proc/no/such",
                "/proc/no");
  check_refused(quick(made.folder, "out") + "--resume", "holds no checkpoint");
  check_refused("report --out '" + (made.folder / "out") + "'", "config.json");
  BOOST_TEST(!std::filesystem::exists(made.folder / "out"));
}

BOOST_AUTO_TEST_CASE(the_metrics_hold_every_epoch_and_no_clock) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  BOOST_TEST(run(quick(folder, "out") + "--alone-epochs 11 --seeds 1 --log-steps 4").status == 0);
  std::istringstream lines(read_file(folder / "out/metrics.jsonl"));
  std::map<std::string, int> epochs, tested, steps;
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line);
    const auto network = event["network"].get<std::string>();
    BOOST_TEST(event["seed"] == 0);
    BOOST_TEST(event["loss"].get<double>() > 0);
    BOOST_TEST(!event.contains("seconds"));
    if (event["event"] == "step") {
      ++steps[network];
      BOOST_TEST(event["step"].get<int>() % 4 == 0);
      BOOST_TEST(event["lr"].get<double>() > 0);
    } else {
      BOOST_TEST(event["epoch"] == ++epochs[network]);
      if (event.contains("test_accuracy")) tested[network] += 1 + 100 * event.contains("test_nll");
    }
  }
  BOOST_TEST((epochs == std::map<std::string, int>{{"alone", 11}, {"distilled", 3}, {"teacher", 2}}));
  BOOST_TEST((tested == std::map<std::string, int>{{"alone", 202}, {"distilled", 101}, {"teacher", 202}}));
  BOOST_TEST((steps == std::map<std::string, int>{{"alone", 5}, {"distilled", 1}, {"teacher", 5}}));
  const std::string timing = read_file(folder / "out/timing.jsonl");
  BOOST_TEST(std::count(timing.begin(), timing.end(), '\n') == 16);
  const json environment = json::parse(read_file(folder / "out/environment.json"));
  for (const char* key : {"version", "seed", "cpu", "threads", "compiler"})
    BOOST_TEST(environment.contains(key), key);
  BOOST_TEST(json::parse(read_file(folder / "out/config.json"))["alone"]["epochs"] == 11);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
