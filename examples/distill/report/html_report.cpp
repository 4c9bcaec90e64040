#include "distill/report/html_report.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <retort/framework/base/error.hpp>
#include <retort/framework/io/atomic_file.hpp>
#include <vector>

#include "distill/report/figures.hpp"
#include "distill/report/formatted.hpp"
#include "distill/report/html.hpp"
#include "distill/report/page_template.hpp"
#include "distill/report/run_record.hpp"
#include "distill/report/samples.hpp"
#include "distill/report/table.hpp"

namespace distill {
namespace {

using retort::message;
using retort::Tensor;

/// Everything that the sections show.
struct Page {
  const RunRecord& run;
  const Data& data;
  const Tensor& labels;

  std::string class_name(std::int64_t k) const {
    return escaped(run.class_names[static_cast<std::size_t>(k)]);
  }
};

std::string section(const std::string& title, const std::string& caption, const std::string& content) {
  return message("<section>\n<h2>{}</h2>\n<p>{}</p>\n{}</section>\n", title, caption, content);
}

std::string legend() {
  std::string chips;
  for (const Network& network : networks())
    chips += message("<span><i style=\"background:{}\"></i>{}</span>", network.color, network.title);
  return "<p class=\"legend\">" + chips + "</p>\n";
}

/// The pictures in a grid, or, once, why there are none.
std::string pictures(const std::vector<Plot>& plots) {
  std::string figures;
  for (const Plot& plot : plots) {
    const Drawing drawing = draw(plot);
    if (!drawing.problem.empty()) return message("<p class=\"note\">{}</p>\n", escaped(drawing.problem));
    figures += message("<figure id=\"{}\">\n<figcaption>{}</figcaption>\n{}</figure>\n", plot.name,
                       escaped(plot.title), drawing.svg);
  }
  if (figures.empty()) return "<p class=\"note\">The run has not measured this.</p>\n";
  return "<div class=\"grid\">\n" + figures + "</div>\n";
}

/// The three accuracies at the top of the page.
std::string headline(const Page& page) {
  const std::vector<std::vector<std::string>> rows = cells_of(page.run.result);
  std::string tiles;
  for (std::size_t n = 0; n < networks().size(); ++n) {
    const std::string& accuracy = rows[n + 1][1];
    const std::size_t end = std::min(accuracy.find(" ±"), accuracy.size());
    tiles += message("<div style=\"border-color:{}\"><b>{}</b>{}</div>\n", networks()[n].color,
                     escaped(accuracy.substr(0, end)), networks()[n].title);
  }
  return message("<p class=\"tiles\">Test accuracy, %</p>\n<div class=\"tiles\">\n{}</div>\n", tiles);
}

std::string result_section(const Page& page) {
  std::string table = "<div class=\"scroll\"><table class=\"result\">\n";
  const char* tag = "th";
  for (const std::vector<std::string>& row : cells_of(page.run.result)) {
    table += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      // Deviation and interval stay in one piece when the line is too long.
      const std::size_t end =
          i == 0 ? row[i].size() : std::min({row[i].find(" ["), row[i].find(" ±"), row[i].size()});
      std::string cell = escaped(row[i].substr(0, end));
      if (end < row[i].size()) cell += " <small>" + escaped(row[i].substr(end + 1)) + "</small>";
      const std::string kind = i == 0 ? "th" : tag;
      table += message("<{}>{}</{}>", kind, cell, kind);
    }
    table += "</tr>\n";
    tag = "td";
  }
  return section("Result",
                 message("On the {} test images: mean ± standard deviation over {} seeds, and the difference "
                         "within a seed with its 95 % interval.",
                         page.data.test.size(), page.run.result.seeds.size()),
                 table + "</table></div>\n");
}

std::string confusion_table(const Page& page, const Network& network) {
  const auto classes = static_cast<std::size_t>(page.data.classes);
  const std::vector<std::int64_t> answers = predicted(page.run.*network.logits);
  const auto targets = page.labels.data<std::int64_t>();
  std::vector<std::int64_t> counts(classes * classes), totals(classes);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    ++counts[static_cast<std::size_t>(targets[i]) * classes + static_cast<std::size_t>(answers[i])];
    ++totals[static_cast<std::size_t>(targets[i])];
  }
  std::string table = "<table class=\"confusion\"><tr><td></td>";
  for (std::int64_t k = 0; k < page.data.classes; ++k)
    table += message("<th><span>{}</span></th>", page.class_name(k));
  table += "</tr>\n";
  for (std::size_t label = 0; label < classes; ++label) {
    const std::string name = page.class_name(static_cast<std::int64_t>(label));
    table += message("<tr><th>{}</th>", name);
    for (std::size_t answer = 0; answer < classes; ++answer) {
      const std::int64_t count = counts[label * classes + answer];
      if (count == 0) {
        table += "<td></td>";
        continue;
      }
      const double share = static_cast<double>(count) / static_cast<double>(totals[label]);
      // An error of a fifth of a class is as strong as it gets: otherwise one would see the diagonal alone.
      const double strength = label == answer ? 0.55 * share : std::min(0.85, 0.08 + 4 * share);
      table += message("<td class=\"{}\" style=\"--share:{}\" title=\"{} taken for {}: {} of {}\">{}</td>",
                       label == answer ? "right" : "wrong", formatted("%.2f", strength), name,
                       page.class_name(static_cast<std::int64_t>(answer)), count, totals[label],
                       formatted("%.0f", 100 * share));
    }
    table += "</tr>\n";
  }
  return table + "</table>\n";
}

std::string confusion_section(const Page& page) {
  std::string figures;
  for (const Network& network : networks_of(page.run))
    figures += message(
        "<figure id=\"confusion-{}\">\n<figcaption>{}</figcaption>\n<div "
        "class=\"scroll\">{}</div></figure>\n",
        network.key, network.title, confusion_table(page, network));
  return section(
      "What is taken for what",
      "Each row is the true class, each column the answer, in % of the images of the true class: right "
      "answers are blue, mistakes orange; 0 is less than half a percent, "
      "an empty cell none at all. Students of the first seed.",
      "<div class=\"grid\">\n" + figures + "</div>\n");
}

/// The image of a row, where the images are square.
std::string image(const Page& page, std::int64_t row) {
  const auto side = std::llround(std::sqrt(static_cast<double>(page.data.pixels)));
  if (side * side != page.data.pixels) return "";
  const auto pixels = page.data.test.inputs().data<float>().subspan(
      static_cast<std::size_t>(row * page.data.pixels), static_cast<std::size_t>(page.data.pixels));
  return message("<img alt=\"test image {}\" width=\"84\" height=\"84\" src=\"{}\">", row,
                 png_address(pixels, side));
}

std::vector<double> row_of(const Tensor& probabilities, std::int64_t row) {
  const auto classes = static_cast<std::size_t>(probabilities.size(1));
  const auto values = probabilities.data<double>().subspan(static_cast<std::size_t>(row) * classes, classes);
  return {values.begin(), values.end()};
}

std::string percent(double share) { return formatted("%.0f %%", 100 * share); }

std::string sample_card(const Page& page, std::int64_t row, const std::vector<Tensor>& sharp,
                        const std::vector<Tensor>& soft) {
  const std::int64_t label = page.labels.data<std::int64_t>()[static_cast<std::size_t>(row)];
  std::string answers;
  std::vector<std::vector<double>> distributions;
  for (std::size_t n = 0; n < networks().size(); ++n) {
    const std::vector<double> probabilities = row_of(sharp[n], row);
    const auto most = std::ranges::max_element(probabilities);
    const auto answer = static_cast<std::int64_t>(most - probabilities.begin());
    answers += message("<li><i style=\"background:{}\"></i>{}, {}{}</li>", networks()[n].color,
                       page.class_name(answer), percent(*most),
                       answer == label ? " <b class=\"good\">✓</b>" : " <b class=\"bad\">✗</b>");
    distributions.push_back(row_of(soft[n], row));
  }
  std::string bars;
  for (const std::size_t k : shown_classes(distributions, 12)) {
    bars += message("<tr{}><th>{}</th><td>", static_cast<std::int64_t>(k) == label ? " class=\"truth\"" : "",
                    page.class_name(static_cast<std::int64_t>(k)));
    for (std::size_t n = 0; n < networks().size(); ++n)
      bars += message("<i style=\"width:{}%;background:{}\" title=\"{}\"></i>",
                      formatted("%.1f", 100 * distributions[n][k]), networks()[n].color,
                      percent(distributions[n][k]));
    bars += "</td></tr>\n";
  }
  return message(
      "<figure class=\"sample\">\n<div>{}<div><b>{}</b><ul>{}</ul></div></div>\n<table "
      "class=\"bars\">\n{}</table></figure>\n",
      image(page, row), page.class_name(label), answers, bars);
}

std::string samples_section(const Page& page) {
  std::vector<Tensor> sharp, soft;
  for (const Network& network : networks()) {
    sharp.push_back(softened(page.run.*network.logits, 1));
    soft.push_back(softened(page.run.*network.logits, page.run.temperature));
  }
  std::string cards;
  for (const std::int64_t row : telling_rows(page.run, page.labels, 12))
    cards += sample_card(page, row, sharp, soft);
  if (cards.empty())
    cards = "<p class=\"note\">There is no such image: the student alone gets all of them right.</p>";
  return section("What the teacher sees and the student alone does not",
                 message("For each class the test image that the teacher gets right and whose class the "
                         "student alone thinks the least probable: the true class, what each network answers "
                         "and how sure it is, and as bars the soft labels at temperature {}, 0 to 100 %. "
                         "Students of the first seed.",
                         formatted("%g", page.run.temperature)),
                 legend() + "<div class=\"grid narrow\">\n" + cards + "</div>\n");
}

std::string softening_section(const Page& page) {
  const std::vector<double> temperatures = shown_temperatures(page.run);
  std::string chips;
  for (std::size_t t = 0; t < temperatures.size(); ++t)
    chips += message("<span><i style=\"background:{}\"></i>T = {}</span>",
                     temperature_color(t, temperatures.size()), formatted("%g", temperatures[t]));
  std::vector<Tensor> soft;
  for (const double temperature : temperatures) soft.push_back(softened(page.run.teacher, temperature));

  std::string figures;
  for (const std::int64_t row : rows_by_confidence(page.run, page.labels, {0.99, 0.8, 0.5})) {
    std::vector<std::vector<double>> distributions;
    for (const Tensor& probabilities : soft) distributions.push_back(row_of(probabilities, row));
    const std::vector<std::size_t> classes = shown_classes(distributions, 12);
    std::vector<std::string> names;
    std::vector<std::vector<double>> shown(distributions.size());
    for (const std::size_t k : classes) {
      names.push_back(page.run.class_names[k]);
      for (std::size_t t = 0; t < shown.size(); ++t) shown[t].push_back(distributions[t][k]);
    }
    const Drawing drawing = draw(softening_plot(message("soft-{}", row), temperatures, shown, names));
    const std::int64_t label = page.labels.data<std::int64_t>()[static_cast<std::size_t>(row)];
    figures += message(
        "<figure class=\"sample\" id=\"soft-{}\">\n<div>{}<div><b>{}</b><br>at T = 1 the "
        "teacher gives it {}</div></div>\n{}</figure>\n",
        row, image(page, row), page.class_name(label),
        percent(row_of(softened(page.run.teacher, 1), row)[static_cast<std::size_t>(label)]),
        drawing.problem.empty() ? drawing.svg
                                : message("<p class=\"note\">{}</p>\n", escaped(drawing.problem)));
  }
  return section("The teacher's soft targets",
                 message("What the teacher says at several temperatures T about three images that it gets "
                         "right, those whose class has at T = 1 a probability nearest 99, 80 and 50 %; this "
                         "run distilled at T = {}.",
                         formatted("%g", page.run.temperature)),
                 "<p class=\"legend\">" + chips + "</p>\n<div class=\"grid\">\n" + figures + "</div>\n");
}

std::string settings_section(const Page& page) {
  const auto table = [](const char* title, const RunRecord::Entries& entries) {
    std::string rows;
    for (const auto& [key, value] : entries)
      rows += message("<tr><th>{}</th><td>{}</td></tr>\n", escaped(key), escaped(value));
    return message("<figure><figcaption>{}</figcaption><table class=\"settings\">\n{}</table></figure>\n",
                   title, rows);
  };
  return section("How it was made",
                 message("The options and the machine of this run, which took {} s.",
                         formatted("%.0f", page.run.result.seconds)),
                 "<div class=\"grid\">\n" + table("Machine and build", page.run.environment) +
                     table("Options", page.run.config) + "</div>\n");
}

std::string learning_section(const Page& page) {
  const bool teacher = page.run.curves.contains("teacher");
  return section(
      "Learning",
      message("{}within the band from the lowest to the highest{}. The losses of the two students "
              "are different ones, so that their heights cannot be compared.",
              teacher ? "Of the teacher the mean loss of each epoch, and grey that of single batches; "
                        "of the students the mean over the seeds "
                      : "The students over their epochs: the mean over the seeds ",
              page.run.teacher.defined() ? ", and dashed what the teacher reached" : ""),
      legend() + pictures(learning_plots(page.run)));
}

std::string differences_section(const Page& page) {
  return section(
      "Distilled against alone, seed by seed",
      "Each seed's difference between the student distilled and the one alone, which start from the "
      "same weights and see the same images; dashed the mean, shaded its 95 % interval.",
      pictures(difference_plots(page.run)));
}

std::string reliability_section(const Page& page) {
  return section(
      "Can one trust how sure they are?",
      "How many of the answers given with some confidence are right (bars): on the dashed diagonal "
      "confidence is just what it claims, below it too high; the line with dots is the share of all "
      "answers in each bar. Students of the first seed.",
      legend() + pictures(reliability_plots(page.run, page.labels)));
}

std::string page_of(const Page& page_data) {
  const std::string title =
      "Distillation on " + escaped(std::filesystem::path(page_data.run.data_folder).filename().string());
  const bool teacher = page_data.run.teacher.defined();
  std::string page = page_template;
  replace_all(page, "{title}", title);
  replace_all(page, "{sections}",
              headline(page_data) + result_section(page_data) + learning_section(page_data) +
                  differences_section(page_data) + reliability_section(page_data) +
                  confusion_section(page_data) +
                  (teacher ? samples_section(page_data) + softening_section(page_data) : "") +
                  settings_section(page_data));
  return page;
}

}  // namespace

void write_html_report(const std::string& run_folder, const Data& data) {
  const RunRecord run = read_run(run_folder, data);
  const std::string page = page_of({run, data, data.test.targets()});
  retort::AtomicFile file("report", (std::filesystem::path(run_folder) / "report.html").string());
  file.write(page);
  file.commit();
}

}  // namespace distill
