// The page that shows a run, made from a folder that is written here.
#include "distill/report/html_report.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <retort/framework/io/safetensors.hpp>
#include <retort/retort.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "distill/report/run_record.hpp"
#include "distill/report/table.hpp"
#include "image_set.hpp"
#include "tests_support.hpp"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using retort::IoError;
using retort::tests::contains;
using retort::tests::read_file;
using retort::tests::TemporaryFolder;
using retort::tests::thrown_text;
using retort::tests::write_file;

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

/// Images, and a run on them of two seeds: the teacher is right everywhere, the student alone takes class 0
/// for class 1.
struct Run {
  Run() {
    retort::tests::write_image_set(folder.path());
    data = distill::load_data(folder.path());
    const auto labels = data.test.targets().data<std::int64_t>();
    std::vector<float> right, wrong;
    for (std::size_t i = 0; i < labels.size(); ++i)
      for (std::int64_t k = 0; k < 3; ++k) {
        right.push_back(k == labels[i] ? 1 + static_cast<float>(i) / 50 : 0);
        wrong.push_back(k == std::max<std::int64_t>(labels[i], 1) ? 2 : 0);
      }
    const retort::Shape shape = {data.test.size(), 3};
    predictions["teacher"] = retort::tensor(right, shape);
    predictions["alone"] = retort::tensor(wrong, shape);
    predictions["distilled"] = retort::tensor(right, shape);
    predictions["labels"] = data.test.targets();
    write_predictions();

    distill::Result result;
    result.teacher = {1, 0.1, 0.02};
    result.seeds = {{4, {0.6, 0.9, 0.1}, {0.9, 0.3, 0.05}}, {5, {0.7, 0.8, 0.1}, {0.9, 0.4, 0.05}}};
    write_file(folder / "result.json", distill::json_of(result));
    config = {
        {"data", folder.path()}, {"distillation", {{"temperature", 3.0}}}, {"teacher", {{"lr", 0.001}}}};
    write_file(folder / "config.json", config.dump());
    write_file(folder / "environment.json", R"({"version": "1.2.3", "cpu": "<script>alert('&')</script>"})");
    std::string lines;
    for (const char* network : {"teacher", "alone", "distilled"})
      for (int seed = 4; seed < (network == std::string("teacher") ? 5 : 6); ++seed)
        for (int epoch = 1; epoch <= 4; ++epoch) {
          json line = {{"event", "step"},        {"network", network},  {"seed", seed}, {"epoch", epoch},
                       {"step", 10 * epoch - 5}, {"loss", 1.0 / epoch}, {"lr", 0.1}};
          lines += line.dump() + '\n';
          line["event"] = "epoch";
          line["step"] = 10 * epoch;
          if (epoch % 2 == 0) line.update({{"test_accuracy", 0.2 * epoch}, {"test_nll", 1.0 / epoch}});
          lines += line.dump() + '\n';
        }
    write_file(folder / "metrics.jsonl", lines);
  }

  void write_predictions() const {
    retort::save_safetensors(folder / "predictions.safetensors", predictions);
  }
  std::string page() const {
    distill::write_html_report(folder.path(), data);
    return read_file(folder / "report.html");
  }
  /// Checks that the page cannot be written, that the message contains `part`, and that no page remains.
  void check_refused(const std::string& part) const {
    const std::string text = thrown_text<IoError>([&] { page(); });
    BOOST_TEST(contains(text, part), text);
    BOOST_TEST(!fs::exists(folder / "report.html"));
  }

  TemporaryFolder folder;
  distill::Data data;
  retort::StateDict predictions;
  json config;
};

/// Checks that tags are closed in order; returns the first mistake, or an empty string.
std::string nesting_error(const std::string& page) {
  const std::set<std::string> empty = {"meta", "img", "br", "!DOCTYPE"};
  std::vector<std::string> open;
  for (std::size_t at = 0; (at = page.find('<', at)) != std::string::npos; ++at) {
    const std::size_t end = page.find('>', at);
    if (end == std::string::npos) return "no end of " + page.substr(at, 40);
    const bool closing = page[at + 1] == '/';
    const std::size_t begin = at + 1 + closing;
    const std::string name = page.substr(begin, page.find_first_of(" \n>/", begin) - begin);
    if (closing) {
      if (open.empty() || open.back() != name) return "unexpected </" + name + ">";
      open.pop_back();
    } else if (page[end - 1] != '/' && !empty.contains(name)) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

std::vector<std::string> values_of_attribute(const std::string& page, const std::string& attribute) {
  std::vector<std::string> values;
  for (const char quote : {'"', '\''}) {
    const std::string start = attribute + '=' + quote;
    for (std::size_t at = 0; (at = page.find(start, at)) != std::string::npos;) {
      at += start.size();
      values.push_back(page.substr(at, page.find(quote, at) - at));
    }
  }
  return values;
}

BOOST_AUTO_TEST_SUITE(example_distill_html_report)

BOOST_AUTO_TEST_CASE(every_picture_is_there_and_nothing_from_outside) {
  const Run run;
  const std::string page = run.page();
  BOOST_TEST(nesting_error(page) == "");
  for (const char* network : {"teacher", "alone", "distilled"})
    BOOST_TEST(contains(page, std::string("<figure id=\"confusion-") + network + '"'), network);
  for (const char* text :
       {"<th>student distilled</th>", "in 2 of 2 seeds", "teacher.lr", "prefers-color-scheme: dark"})
    BOOST_TEST(contains(page, text), text);
  // One image of class 0, which the student alone gets wrong, and three to soften.
  BOOST_TEST(count_of(page, "<img ") == 4U);
  for (const std::string& source : values_of_attribute(page, "src"))
    BOOST_TEST(source.find("data:image/png;base64,") == 0U, source);
  for (const std::string& link : values_of_attribute(page, "href")) BOOST_TEST(link.find('#') == 0U, link);
  for (const char* outside : {"<script", "<link", "@import", "url("})
    BOOST_TEST(!contains(page, outside), outside);

  BOOST_TEST(!contains(page, "class=\"note\""));
  for (const char* chart :
       {"Teacher: training loss", "Teacher: test accuracy", "Teacher: test neg. log-likelihood",
        "Students: training loss", "Students: test accuracy", "Students: test neg. log-likelihood",
        "Accuracy: more is better", "Negative log-likelihood: less is better",
        "Calibration error: less is better", "Teacher: calibration error", "Student alone: calibration error",
        "Student distilled: calibration error"})
    BOOST_TEST(contains(page, std::string("<svg role=\"img\" aria-label=\"") + chart), chart);
  BOOST_TEST(count_of(page, "<svg role=\"img\" aria-label=\"") == 12U);
  BOOST_TEST(count_of(page, "<figure class=\"sample\" id=\"soft-") == 3U);
  std::vector<std::string> ids = values_of_attribute(page, " id");
  std::ranges::sort(ids);
  const auto twice = std::ranges::adjacent_find(ids);
  BOOST_TEST((twice == ids.end()), "twice: " << (twice == ids.end() ? "" : *twice));
}

BOOST_AUTO_TEST_CASE(text_stands_for_itself) {
  const Run run;
  write_file(run.folder / "classes.txt", "<b>bold</b> & \"so\" 'on'\ntwo\nthree");
  const std::string page = run.page();
  BOOST_TEST(nesting_error(page) == "");
  BOOST_TEST(!contains(page, "<b>bold"));
  BOOST_TEST(contains(page, "&lt;b&gt;bold&lt;/b&gt; &amp; &quot;so&quot; &#39;on&#39;"));
  BOOST_TEST(contains(page, "&lt;script&gt;alert(&#39;&amp;&#39;)"));
}

BOOST_AUTO_TEST_CASE(each_file_that_is_missing_is_named) {
  for (const char* name :
       {"config.json", "environment.json", "metrics.jsonl", "result.json", "predictions.safetensors"}) {
    const Run run;
    fs::remove(run.folder / name);
    run.check_refused(run.folder / name);
  }
}

BOOST_AUTO_TEST_CASE(each_file_that_is_broken_is_named) {
  const Run whole;
  write_file(whole.folder / "result.json", R"({"teacher": {}})");
  whole.check_refused(whole.folder / "result.json");
  const Run torn;
  write_file(torn.folder / "metrics.jsonl", read_file(torn.folder / "metrics.jsonl") + R"({"event":"st)");
  torn.check_refused((torn.folder / "metrics.jsonl") + ": line 41: ");
  Run narrow;
  narrow.predictions["alone"] = retort::zeros({150, 2});
  narrow.write_predictions();
  narrow.check_refused("\"alone\" is float32 (150, 2), but the test images need float32 (150, 3)");
  Run other;
  other.predictions["labels"] = retort::zeros({150}, retort::DType::int64);
  other.write_predictions();
  other.check_refused("its labels are not those of the test images");
  Run fewer;
  fewer.predictions.erase("distilled");
  fewer.write_predictions();
  fewer.check_refused("has no logits \"distilled\"");
}

BOOST_AUTO_TEST_CASE(curves_are_read_by_network_and_seed) {
  const Run run;
  const distill::RunRecord record = distill::read_run(run.folder.path(), run.data);
  BOOST_TEST(record.temperature == 3);
  BOOST_TEST(record.class_names == (std::vector<std::string>{"0", "1", "2"}),
             boost::test_tools::per_element());
  const std::vector<distill::Chart> charts = distill::learning_charts(record);
  const retort::ReportSeries &batches = charts[0].series[0], &teacher = charts[0].series[1];
  BOOST_TEST(batches.x == (std::vector<double>{0.5, 1.5, 2.5, 3.5}), boost::test_tools::per_element());
  BOOST_TEST(batches.y[1] == 0.5);  // of step 15, at 10 steps per epoch
  BOOST_TEST(teacher.x == (std::vector<double>{1, 2, 3, 4}), boost::test_tools::per_element());
  BOOST_TEST(teacher.y[1] == 0.5);
  // Mean, least and greatest of both seeds at the epochs that were measured, in percent.
  const retort::ReportSeries& alone = charts[4].series.front();
  const std::vector<double> epochs = {2, 4}, percent = {40, 80};
  BOOST_TEST(alone.x == epochs, boost::test_tools::per_element());
  for (const auto* values : {&alone.y, &alone.low, &alone.high})
    BOOST_TEST(*values == percent, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_run_of_one_seed_without_curves_has_a_page) {
  const Run run;
  distill::Result result;
  result.seeds = {{0, {0.6, 0.9, 0.1}, {0.9, 0.3, 0.05}}};
  write_file(run.folder / "result.json", distill::json_of(result));
  write_file(run.folder / "metrics.jsonl", "");
  const std::string page = run.page();
  BOOST_TEST(nesting_error(page) == "");
  BOOST_TEST(count_of(page, "The run has not measured this.") == 1U);
}

BOOST_AUTO_TEST_CASE(a_teacher_that_left_only_logits_has_no_pictures) {
  Run run;
  run.predictions.erase("teacher");
  run.write_predictions();
  std::string lines;
  std::istringstream all(read_file(run.folder / "metrics.jsonl"));
  for (std::string line; std::getline(all, line);)
    if (!contains(line, "teacher")) lines += line + '\n';
  write_file(run.folder / "metrics.jsonl", lines);
  json result = json::parse(read_file(run.folder / "result.json"));
  for (const char* key : {"accuracy", "nll", "ece"}) result["teacher"][key]["mean"] = json();
  write_file(run.folder / "result.json", result.dump());
  const std::string page = run.page();
  BOOST_TEST(nesting_error(page) == "");
  BOOST_TEST(count_of(page, "<td>not known</td>") == 3U);
  for (const char* part : {"\"Teacher: ", "<figure id=\"confusion-teacher", "id=\"soft-"})
    BOOST_TEST(!contains(page, part), part);
  BOOST_TEST(contains(page, "<figure id=\"confusion-alone\""));
}

BOOST_AUTO_TEST_CASE(samples_are_those_that_tell) {
  using retort::tensor;
  distill::RunRecord run;
  // Rows: both right; alone wrong, a little; alone wrong, much; teacher wrong; class 1, alone wrong.
  const retort::Tensor labels = tensor({0, 0, 0, 0, 1});
  run.teacher = tensor({3.F, 0.F, 2.F, 0.F, 1.F, 0.F, 0.F, 1.F, 0.F, 9.F}, {5, 2});
  run.alone = tensor({1.F, 0.F, 0.F, 1.F, 0.F, 2.F, 0.F, 9.F, 3.F, 0.F}, {5, 2});
  const std::vector<std::int64_t> both = {2, 4}, one = {4}, by_confidence = {4, 2, 1};
  BOOST_TEST(distill::telling_rows(run, labels, 5) == both, boost::test_tools::per_element());
  BOOST_TEST(distill::telling_rows(run, labels, 1) == one, boost::test_tools::per_element());
  BOOST_TEST(distill::rows_by_confidence(run, labels, {1.0, 0.7, 0.7}) == by_confidence,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
