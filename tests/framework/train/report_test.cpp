// The page that shows results.
#include "retort/framework/train/report.hpp"

#include <zlib.h>

#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "framework/io/files.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

namespace {

using namespace retort;
using retort::tests::contains;
using retort::tests::read_file;
using retort::tests::TemporaryFolder;
using retort::tests::thrown_text;

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

std::string decoded_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0, held = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6U | static_cast<unsigned>(digits.find(c));
    held += 6;
    if (held >= 8) bytes += static_cast<char>(bits >> (held -= 8) & 0xFFU);
  }
  return bytes;
}

Report everything() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Report report("A <title> & more", "Introduction.");
  report.section("Numbers", "Words.").text("Further <words>.");
  report.table({{"", "accuracy"}, {"teacher", "91.2 ± 0.1"}, {"student", "88 [87, 89]"}});
  report.section("Charts");
  report.curves("Loss", {.x = "epoch", .y = "loss", .log_y = true},
                {{.name = "a", .x = {1, 2, 3}, .y = {1, nan, 0.1}},
                 {.name = "b<", .x = {1, 2}, .y = {2, 0}, .low = {1, 1}, .high = {3, 3}, .dashed = true}});
  report.scatter("Size", {.x = "parameters", .y = "accuracy", .log_x = true},
                 {{"one", 1000, 90}, {"two", 1100, 90}, {"three", 1e6, 95}, {"none", 0, nan}});
  report.differences("Accuracy", "points", std::vector<double>{0.1, 0.3, -0.1});
  report.calibration("teacher", tensor({2.F, 0.F, 0.F, 1.F}, {2, 2}), tensor({0, 0}));
  report.confusion("teacher", tensor({3, 1, 0, 4}, {2, 2}), {"cat", "<dog>"}, "confusion-teacher");
  report.heat_map("attention", tensor({0.F, 1.F, 0.5F, 0.F, 0.25F, 0.F}, {2, 3}), {"q1", "q2"},
                  {"a", "b", "c"});
  report.samples({{.image = zeros({2, 3}), .caption = "shoe", .notes = {"teacher: shoe", "student: bag"}},
                  {.text = "In the beginning", .caption = "Genesis"}});
  report.settings("Options", {{"lr", "0.1"}});
  return report;
}

BOOST_AUTO_TEST_SUITE(report)

BOOST_AUTO_TEST_CASE(a_page_needs_no_other_file_and_escapes_its_text) {
  const TemporaryFolder folder;
  everything().write(folder / "report.html");
  const std::string page = read_file(folder / "report.html");
  BOOST_TEST(count_of(page, "A &lt;title&gt; &amp; more") == 2U);
  BOOST_TEST(contains(page, "<p>Further &lt;words&gt;.</p>"));
  BOOST_TEST(contains(page, "prefers-color-scheme: dark"));
  for (const char* outside : {"<script", "<link", "@import", "url(", "http", "<title> &", "<words>", "<dog>"})
    BOOST_TEST(!contains(page, outside), outside);
  for (const char* tag :
       {"section", "figure", "svg", "table", "tr", "th", "td", "div", "p", "ul", "li", "text"})
    BOOST_TEST(count_of(page, std::string("<") + tag + ' ') + count_of(page, std::string("<") + tag + '>') ==
                   count_of(page, std::string("</") + tag + '>'),
               tag);
  BOOST_TEST(count_of(page, "<svg role=\"img\" aria-label=\"") == 5U);
  BOOST_TEST(count_of(page, "src=\"data:image/png;base64,") == 1U);
  BOOST_TEST(!contains(page, "nan"));
  BOOST_TEST(!contains(page, "inf"));
  BOOST_TEST(contains(page, "<th>teacher</th><td>91.2 <small>± 0.1</small></td>"));
  BOOST_TEST(contains(page, "<figure id=\"confusion-teacher\">"));
  BOOST_TEST(contains(page, "title=\"cat taken for &lt;dog&gt;: 1 of 4\">25</td>"));
}

BOOST_AUTO_TEST_CASE(a_logarithmic_axis_says_what_it_cannot_show) {
  const auto caption = [](const Report& report) {
    const std::string page = report.page();
    const std::size_t from = page.find("<figcaption>") + 12;
    return page.substr(from, page.find("</figcaption>") - from);
  };
  const ReportSeries series{
      .name = "a", .x = {0, 1, 2}, .y = {1, 0, -1}, .low = {0.5, -1, -2}, .high = {2, 1, 0}};
  BOOST_TEST(caption(Report("").curves("Loss", {}, {series})) == "Loss");
  BOOST_TEST(caption(Report("").curves("Loss", {.log_x = true}, {series})) ==
             "Loss (without 1 value ≤ 0, which a logarithmic axis cannot show)");
  BOOST_TEST(caption(Report("").curves("Loss", {.log_y = true}, {series})) ==
             "Loss (without 5 values ≤ 0, which a logarithmic axis cannot show)");
  BOOST_TEST(
      caption(Report("").scatter("Size", {.log_x = true, .log_y = true}, {{"a", 0, -1}, {"b", 1, 1}})) ==
      "Size (without 2 values ≤ 0, which a logarithmic axis cannot show)");
}

BOOST_AUTO_TEST_CASE(charts_without_values_are_empty) {
  Report page("Nothing");
  page.curves("none", {}, {}).scatter("none", {.log_x = true}, {}).differences("none", "", {});
  page.calibration("none", zeros({0, 2}), zeros({0}, DType::int64)).heat_map("none", zeros({0, 0}));
  page.confusion("many", zeros({21, 21}, DType::int64), std::vector<std::string>(21, "<class>"), "many");
  BOOST_TEST(!contains(page.page(), "=\"nan"));
  BOOST_TEST(!contains(page.page(), "<class>"));
  BOOST_TEST(count_of(page.page(), "</svg>") == 6U);
}

BOOST_AUTO_TEST_CASE(a_text_table_is_aligned) {
  BOOST_TEST(text_table({{"", "a"}, {"long", "1 ± 2", "c"}, {"b", "12", "d"}}) ==
             "      a\nlong  1 ± 2  c\nb     12     d\n");
  BOOST_TEST(text_table({}).empty());
}

BOOST_AUTO_TEST_CASE(refusals) {
  Report page("Refusals");
  const Tensor wide = zeros({2, 3});
  BOOST_TEST(contains(thrown_text<ShapeError>([&] {
                        page.confusion("c", wide.to(DType::int64), {"a", "b"});
                      }),
                      "(2, 3)"));
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        page.confusion("c", zeros({2, 2}, DType::int64), {"a"});
                      }),
                      "2 classes, but 1 name"));
  BOOST_TEST(contains(thrown_text<ShapeError>([&] { page.heat_map("h", zeros({3})); }), "(R, C)"));
  BOOST_TEST(
      contains(thrown_text<ValueError>([&] { page.heat_map("h", wide, {"a"}); }), "heat map's rows is 1"));
  for (const ReportSeries& uneven :
       {ReportSeries{.name = "a", .x = {1, 2}, .y = {1}}, {.name = "a", .x = {1}, .y = {1}, .low = {0}}})
    BOOST_TEST(contains(thrown_text<ValueError>([&] { page.curves("c", {}, {uneven}); }), "the series 'a'"));
  BOOST_TEST(contains(thrown_text<ShapeError>([&] { page.samples({{.image = zeros({4})}}); }), "(H, W)"));
  const Tensor counts = tensor({3, 1, -2, 4}, {2, 2});
  BOOST_TEST(thrown_text<TypeError>([&] {
               page.confusion("c", zeros({2, 2}), {"a", "b"});
             }) ==
             "Report::confusion: the counts are float32; they must be int64, as those of "
             "metrics::confusion_matrix");
  BOOST_TEST(thrown_text<ValueError>([&] {
               page.confusion("c", counts, {"a", "b"});
             }) == "Report::confusion: the count at position (1, 0) is -2; it must be at least 0");
  BOOST_TEST(contains(thrown_text<ValueError>([&] { page.confusion("c", Tensor(), {}); }),
                      "Report::confusion: the counts"));
  for (const double bad : {-0.5, std::nan(""), HUGE_VAL})
    BOOST_TEST(
        thrown_text<ValueError>([&] {
          page.heat_map("h", tensor({0.0, 1.0, bad, 0.0}, {2, 2}));
        }) ==
        message("Report::heat_map: the value at position (1, 0) is {}; it must be finite and at least 0",
                bad));
  BOOST_TEST(contains(thrown_text<ShapeError>([&] { page.calibration("c", zeros({2}), arange(2)); }),
                      "Report::calibration: logits have shape (2)"));
  BOOST_TEST(contains(thrown_text<TypeError>([&] { page.calibration("c", wide, zeros({2})); }),
                      "Report::calibration: the labels are float32"));
  BOOST_TEST(contains(thrown_text<ValueError>([&] { page.calibration("c", wide, Tensor()); }),
                      "Report::calibration: the labels"));
  for (const double bad : {-2.0, 1.01, std::nan("")})
    BOOST_TEST(contains(
        thrown_text<ValueError>([&] {
          page.samples({{.text = "first"}, {.image = full({2, 2}, bad)}});
        }),
        message("Report::samples: the image of sample 1 has the value {}; it must be in [0, 1]", bad)));
  BOOST_CHECK_THROW(page.samples({{.image = zeros({0, 3})}}), ShapeError);
  const std::vector<float> pixels(6);
  for (const std::int64_t width : {-1, 0, 4})
    BOOST_CHECK_THROW((void)Report::png_address(pixels, width), ValueError);
  BOOST_TEST(
      contains(thrown_text<IoError>([&] { page.write("/nowhere/at/all.html"); }), "/nowhere/at/all.html"));
}

BOOST_AUTO_TEST_CASE(answers_are_bars_of_the_likely_classes) {
  Report page("Answers");
  page.samples({{.caption = "<b>",
                 .answers = {{"teacher", {0.25, 0.75}, "b, 75 %", "red"}, {"student", {0.5, 0.5}}},
                 .label = 1,
                 .id = "first"}},
               {"a&", "b"});
  const std::string html = page.page();
  for (const char* part :
       {"<p class=\"legend\"><span><i style=\"background:red\"></i>teacher</span>",
        "<figure class=\"sample\" id=\"first\">", "<b>&lt;b&gt;</b>",
        "<li><i style=\"background:red\"></i>b, 75 %</li>", "<tr><th>a&amp;</th>",
        "<tr class=\"truth\"><th>b</th><td><i style=\"width:75.0%;background:red\" title=\"75 %\"></i>"})
    BOOST_TEST(contains(html, part), part);

  // Of many classes, the most probable of any answer, in order and by number.
  std::vector<double> first(20, 0.0), second(20, 0.0);
  for (std::size_t k = 0; k < 6; ++k) first[3 * k] = second[3 * k + 1] = 0.1;
  Report many("Many classes");
  many.samples({{.answers = {{"first", first}, {"second", second}}}});
  BOOST_TEST(count_of(many.page(), "<tr><th>") == 12U);
  BOOST_TEST(contains(many.page(), "<tr><th>16</th>"));
  BOOST_TEST(!contains(many.page(), "<tr><th>2</th>"));
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        many.samples({{.answers = {{"first", {1}}, {"second", {0, 1}}}}});
                      }),
                      "sample 0: the answer 'second' has probabilities of 2 classes, not 1"));
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        many.samples({{.answers = {{"first", {1}}}}}, {"a", "b"});
                      }),
                      "the answer 'first' has probabilities of 1 class, not 2"));
  for (const double wrong : {1.7, -0.3, std::nan("")})
    BOOST_TEST(contains(thrown_text<ValueError>([&] {
                          many.samples({{.answers = {{"first", {wrong}}}}});
                        }),
                        "it must be from 0 to 1"));
  const std::string before = many.page();
  for (const std::int64_t label : {std::int64_t{2}, std::int64_t{-2}}) {
    const ReportSample wrong = {
        .caption = "x", .answers = {{"first", {0, 1}}, {"second", {1, 0}}}, .label = label};
    BOOST_TEST(contains(thrown_text<IndexError>([&] { many.samples({wrong}); }),
                        message("sample 0 ('x') has label {}; it must be in [0, 2)", label)));
  }
  BOOST_TEST(thrown_text<IndexError>([&] {
               many.samples({{.label = 0}, {.label = 1}}, {"a"});
             }) == "Report::samples: sample 1 has label 1; it must be in [0, 1), or -1 for none");
  BOOST_TEST(many.page() == before);
  many.samples({{.caption = "x", .label = 7}});  // the number of classes is not known
}

BOOST_AUTO_TEST_CASE(an_image_is_a_png) {
  const std::vector<float> pixels = {0, 1, 0.2F, 2, -1, 0.6F};
  const std::string address = Report::png_address(pixels, 3);
  const std::string start = "data:image/png;base64,";
  BOOST_REQUIRE(address.find(start) == 0U);
  const std::string png = decoded_base64(address.substr(start.size()));
  BOOST_TEST(png.substr(0, 8) == "\x89PNG\r\n\x1A\n");
  const std::string header("\0\0\0\x0DIHDR\0\0\0\x03\0\0\0\x02\x08\0\0\0\0", 21);
  BOOST_TEST((png.substr(8, 21) == header));
  const std::size_t data = png.find("IDAT");
  BOOST_REQUIRE(data != std::string::npos);
  std::array<unsigned char, 64> rows{};
  uLongf size = rows.size();
  BOOST_REQUIRE(uncompress(rows.data(), &size, reinterpret_cast<const Bytef*>(png.data() + data + 4),
                           static_cast<uLong>(png.size() - data - 4)) == Z_OK);
  const std::vector<int> expected = {0, 0, 255, 51, 0, 255, 0, 153};  // each row begins with its filter
  BOOST_TEST(std::vector<int>(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(size)) == expected,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
