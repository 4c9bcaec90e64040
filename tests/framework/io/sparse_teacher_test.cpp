#include "retort/framework/io/sparse_teacher.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <cmath>
#include <limits>

#include "files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/data/data_loader.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

SparseTeacher made(std::int64_t rows, std::int64_t classes, std::int64_t kept, double spread = 3) {
  manual_seed(4);
  return sparse_teacher(randn({rows, classes}) * spread, kept, 2.5);
}

double furthest(const Tensor& a, const Tensor& b) {
  double most = 0;
  const std::vector<double> x = a.values<double>(), y = b.values<double>();
  BOOST_REQUIRE(x.size() == y.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    if (x[i] != y[i]) most = std::max(most, std::abs(x[i] - y[i]));
  return most;
}

/// The largest distance of a row's sum from 1.
double excess(const SparseTeacher& teacher) {
  const Tensor sums =
      sum(exp(teacher.log_probs.to(DType::float64)), -1) + exp(teacher.log_tail.to(DType::float64));
  return furthest(sums, ones(sums.shape(), DType::float64));
}

/// Returns the error of load_sparse_teacher() for a file with these contents.
struct File {
  Tensor indices = tensor({0, 2, 1, 0}, {2, 2});
  Tensor log_probs = log(tensor({0.5F, 0.25F, 0.5F, 0.5F}, {2, 2}));
  Metadata metadata = {{"classes", "3"}, {"temperature", "2"}};
  IntegerStorage integers = IntegerStorage::int32;
  FloatStorage floats = FloatStorage::as_is;

  void check(const std::string& part) const {
    const TemporaryFolder folder;
    StateDict tensors;
    if (indices.defined()) tensors["indices"] = indices;
    if (log_probs.defined()) tensors["log_probs"] = log_probs;
    save_safetensors(folder / "bad", tensors, metadata, {.floats = floats, .integers = integers});
    BOOST_CHECK_EXCEPTION((void)load_sparse_teacher(folder / "bad"), IoError, says("bad", part));
  }
};

BOOST_AUTO_TEST_SUITE(sparse_teacher_files)

BOOST_AUTO_TEST_CASE(a_teacher_comes_back) {
  const TemporaryFolder folder;
  const SparseTeacher teacher = made(40, 30, 5);
  save_sparse_teacher(folder / "f", teacher, {{"data", "made"}, {"a", "ä"}});
  Metadata metadata;
  const SparseTeacher read = load_sparse_teacher(folder / "f", &metadata);
  BOOST_TEST(furthest(read.indices, teacher.indices) == 0);
  BOOST_TEST(furthest(read.log_probs, teacher.log_probs) == 0);
  BOOST_TEST(furthest(read.log_tail, teacher.log_tail) < 1e-5);
  BOOST_TEST((read.indices.dtype() == DType::int64 && read.log_probs.dtype() == DType::float32));
  BOOST_TEST(read.classes == 30);
  BOOST_TEST(read.temperature == 2.5);
  BOOST_TEST((metadata == Metadata{{"data", "made"}, {"a", "ä"}}));
  BOOST_TEST(folder.entries() == 1U);
  for (const SafetensorsEntry& entry : safetensors_entries(folder / "f"))
    BOOST_TEST(entry.dtype == (entry.name == "indices" ? "I32" : "F32"));
  const Tensor student = randn({40, 30});
  BOOST_TEST(std::abs(sparse_distillation_loss({.student = student, .teacher = read}).item<double>() -
                      sparse_distillation_loss({.student = student, .teacher = teacher}).item<double>()) <
             1e-5);
}

BOOST_AUTO_TEST_CASE(halves_are_close_and_add_up_to_one) {
  const TemporaryFolder folder;
  for (const std::int64_t kept : {1, 4, 29, 30})
    for (const double spread : {0.0, 3.0, 40.0}) {
      const SparseTeacher teacher = made(60, 30, kept, spread);
      save_sparse_teacher(folder / "f", teacher, {}, FloatStorage::float16);
      const SparseTeacher read = load_sparse_teacher(folder / "f");
      BOOST_TEST_CONTEXT(kept << " of spread " << spread) {
        BOOST_TEST(excess(read) < 1e-6 + 2e-6);
        BOOST_TEST(furthest(exp(read.log_probs), exp(teacher.log_probs)) < 2e-3);
        BOOST_TEST(furthest(exp(read.log_tail), exp(teacher.log_tail)) < 2e-3);
        if (kept == 30) BOOST_TEST(amax(read.log_tail, 0).item<double>() == -infinity);
      }
    }
}

BOOST_AUTO_TEST_CASE(the_size_per_row_is_at_most_a_thousandth) {
  const TemporaryFolder folder;
  const SparseTeacher teacher = made(8, 32000, 16);
  save_sparse_teacher(folder / "f", teacher);
  BOOST_TEST(std::filesystem::file_size(folder / "f") <= 8 * 32000 * 4 / 1000 + 400);
  save_sparse_teacher(folder / "f", teacher, {}, FloatStorage::float16);
  BOOST_TEST(std::filesystem::file_size(folder / "f") <= 8 * 96 + 400);
}

BOOST_AUTO_TEST_CASE(rows_of_any_shape_and_none) {
  const TemporaryFolder folder;
  for (const Shape& shape : {Shape{2, 3, 7}, Shape{7}, Shape{0, 7}}) {
    const SparseTeacher teacher = sparse_teacher(randn(shape, DType::float64), 7, 1);
    save_sparse_teacher(folder / "f", teacher);
    const SparseTeacher read = load_sparse_teacher(folder / "f");
    BOOST_TEST(read.log_probs.shape() == teacher.log_probs.shape());
    BOOST_TEST(read.log_tail.shape() == teacher.log_tail.shape());
  }
  // Fewer classes with a probability than are kept.
  const SparseTeacher few =
      sparse_teacher(tensor({0.0F, -std::numeric_limits<float>::infinity(), 0.0F}, {1, 3}), 3, 1);
  save_sparse_teacher(folder / "f", few, {}, FloatStorage::float16);
  BOOST_TEST(furthest(load_sparse_teacher(folder / "f").log_probs, few.log_probs) < 1e-6);
}

BOOST_AUTO_TEST_CASE(bad_files_are_refused) {
  {
    const TemporaryFolder folder;
    const File good;
    save_safetensors(folder / "good", {{"indices", good.indices}, {"log_probs", good.log_probs}},
                     good.metadata, {.integers = good.integers});
    BOOST_TEST(load_sparse_teacher(folder / "good").log_tail.values<double>()[0] == std::log(0.25),
               boost::test_tools::tolerance(1e-6));
  }
  const auto bad = [](const std::string& part, auto change) {
    File file;
    change(file);
    file.check(part);
  };
  bad("no entry 'indices'; was it written by save_sparse_teacher?", [](File& f) { f.indices = {}; });
  bad("no entry 'log_probs'", [](File& f) { f.log_probs = {}; });
  bad("indices have the dtype I64", [](File& f) { f.integers = IntegerStorage::as_is; });
  bad("log_probs have the dtype BF16", [](File& f) { f.floats = FloatStorage::bfloat16; });
  bad("log_probs have the dtype F64", [](File& f) { f.log_probs = f.log_probs.to(DType::float64); });
  bad("both must be (..., K)", [](File& f) { f.log_probs = zeros({2, 3}); });
  bad("both must be (..., K)", [](File& f) { f.indices = zeros({}, DType::int64), f.log_probs = zeros({}); });
  bad("0 classes per row", [](File& f) {
    f.indices = zeros({2, 0}, DType::int64), f.log_probs = zeros({2, 0});
  });
  bad("class 3 in row 1 is out of range [0, 3)", [](File& f) { f.indices = tensor({0, 2, 3, 0}, {2, 2}); });
  bad("class -1 in row 0 is out of range [0, 3)", [](File& f) { f.indices = tensor({0, -1, 1, 0}, {2, 2}); });
  bad("class 1 is in row 1 twice", [](File& f) { f.indices = tensor({0, 2, 1, 1}, {2, 2}); });
  bad("is not at most 0", [](File& f) { f.log_probs = tensor({-1.0F, 0.1F, -1.0F, -1.0F}, {2, 2}); });
  bad("is not at most 0", [](File& f) {
    f.log_probs = tensor({-1.0F, std::nanf(""), -1.0F, -1.0F}, {2, 2});
  });
  bad("row 1 add up to 2 instead of at most 1", [](File& f) {
    f.log_probs = tensor({-1.0F, -1.0F, 0.0F, 0.0F}, {2, 2});
  });
  bad("instead of 1", [](File& f) {
    f.metadata[0].second = "3", f.indices = tensor({0, 1, 2}, {1, 3}), f.log_probs = full({1, 3}, -2);
  });
  bad("no number 'temperature'", [](File& f) { f.metadata.pop_back(); });
  bad("no number 'classes'", [](File& f) { f.metadata[0].second = "3 "; });
  bad("no number 'classes'", [](File& f) { f.metadata.clear(); });
  bad("classes is 0", [](File& f) { f.metadata[0].second = "0"; });
  bad("between 1 and 1, the number of classes", [](File& f) { f.metadata[0].second = "1"; });
  for (const char* text : {"0", "-1", "nan", "inf"})
    bad("temperature is", [&](File& f) { f.metadata[1].second = text; });
}

BOOST_AUTO_TEST_CASE(what_is_not_a_teacher_is_not_written) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& part, const Metadata& metadata, auto change) {
    SparseTeacher teacher = made(4, 9, 3);
    change(teacher);
    BOOST_CHECK_EXCEPTION(save_sparse_teacher(folder / "f", teacher, metadata), Error,
                          says("save_sparse_teacher", part));
  };
  refused("indices is missing", {}, [](SparseTeacher& t) { t.indices = {}; });
  refused("log_tail is missing", {}, [](SparseTeacher& t) { t.log_tail = {}; });
  refused("must be int64", {}, [](SparseTeacher& t) { t.indices = t.indices.to(DType::float32); });
  refused("log_tail has shape", {}, [](SparseTeacher& t) { t.log_tail = zeros({3}); });
  refused("both must be", {}, [](SparseTeacher& t) { t.log_probs = zeros({4, 2}); });
  refused("out of range [0, 3)", {}, [](SparseTeacher& t) { t.classes = 3; });
  refused("add up to", {}, [](SparseTeacher& t) { t.log_tail = t.log_tail + 1; });
  refused("temperature is 0", {}, [](SparseTeacher& t) { t.temperature = 0; });
  refused("'classes'", {{"classes", "9"}}, [](SparseTeacher&) {});
  BOOST_CHECK_EXCEPTION(save_sparse_teacher(folder / "f", made(4, 9, 3), {}, FloatStorage::bfloat16),
                        ValueError, says("bfloat16"));
  BOOST_TEST(folder.entries() == 0U);

  save_sparse_teacher(folder / "f", made(4, 9, 3));
  const std::string before = read_file(folder / "f");
  {
    const FailingCall full(SystemCall::write, 1, ENOSPC, true);
    BOOST_CHECK_THROW(save_sparse_teacher(folder / "f", made(5, 9, 3)), IoError);
  }
  BOOST_TEST((read_file(folder / "f") == before));
  BOOST_TEST(folder.entries() == 1U);
  BOOST_CHECK_THROW((void)load_sparse_teacher(folder / "absent"), IoError);
}

// The teacher's rows travel through a loader like labels.
BOOST_AUTO_TEST_CASE(a_loader_shuffles_students_and_teachers_alike) {
  const SparseTeacher teacher = made(10, 6, 2);
  const Tensor student = randn({10, 6});
  const double whole = sparse_distillation_loss({.student = student, .teacher = teacher}).item<double>();
  const Dataset rows({{"input", student},
                      {"indices", teacher.indices},
                      {"log_probs", teacher.log_probs},
                      {"log_tail", teacher.log_tail}});
  DataLoader loader(rows, {.batch_size = 2, .shuffle = true});
  double mean = 0;
  for (const Batch& batch : loader)
    mean += sparse_distillation_loss({.student = batch.input,
                                      .teacher = {.indices = batch["indices"],
                                                  .log_probs = batch["log_probs"],
                                                  .log_tail = batch["log_tail"],
                                                  .classes = teacher.classes,
                                                  .temperature = teacher.temperature}})
                .item<double>() /
            5;
  BOOST_TEST(std::abs(mean - whole) < 1e-5);
}

BOOST_AUTO_TEST_CASE(halves_invent_no_tail) {
  const TemporaryFolder folder;
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor logits =
      where(less(arange(40), 20), 3 * rand({200, 40}, DType::float64), -inf).to(DType::float32);
  const SparseTeacher kept = sparse_teacher(logits, 20, 2);
  save_sparse_teacher(folder / "halves", kept, {}, FloatStorage::float16);
  const SparseTeacher stored = load_sparse_teacher(folder / "halves");
  for (const double tail : stored.log_tail.values<double>()) BOOST_TEST(tail == -inf);
  for (const double mass : sum(exp(stored.log_probs), {1}).values<double>())
    BOOST_TEST(std::abs(mass - 1) < 1e-6);
  const double exact = sparse_distillation_loss({.student = logits, .teacher = kept}).item<double>();
  const double read = sparse_distillation_loss({.student = logits, .teacher = stored}).item<double>();
  BOOST_TEST(std::abs(read - exact) < 1e-3);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
