#include "distill/cli/options.hpp"

#include <boost/test/unit_test.hpp>
#include <iostream>
#include <retort/framework/base/error.hpp>
#include <sstream>
#include <vector>

#include "distill/cli/settings.hpp"
#include "image_set.hpp"
#include "tests_support.hpp"

namespace {

using distill::Options;
using retort::Error;
using retort::tests::contains;
using retort::tests::read_file;
using retort::tests::TemporaryFolder;
using retort::tests::thrown_text;
using retort::tests::write_file;

Options parsed(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "distill");
  return distill::parse_options(static_cast<int>(arguments.size()), arguments.data()).value();
}

/// Returns the error message for a configuration file with this text.
std::string refusal(const std::string& text) {
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  write_file(path, text);
  const std::string said = thrown_text<Error>([&] { parsed({"--config", path.c_str()}); });
  BOOST_TEST(said.find(path) == 0U, said);
  return said;
}

BOOST_AUTO_TEST_SUITE(example_distill_options)

BOOST_AUTO_TEST_CASE(defaults_are_the_aggregates) {
  const Options options = parsed({});
  BOOST_TEST(options.seeds == 10);
  BOOST_TEST(options.student_images == 1800);
  BOOST_TEST(options.out == "runs/fashion-mnist");
  BOOST_TEST(!options.fused);
}

BOOST_AUTO_TEST_CASE(of_a_flag_given_twice_the_last_counts) {
  BOOST_TEST(parsed({"--epochs", "3", "--epochs", "4"}).teacher.epochs == 4);
}

BOOST_AUTO_TEST_CASE(flags_set_what_they_name) {
  const Options options =
      parsed({"--seed", "7", "--seeds=2", "--epochs", "3", "--temperature", "4.5", "--alpha", "0.25",
              "--data", "here", "--fused", "--quiet", "--student-width", "30"});
  BOOST_TEST(options.seed == 7);
  BOOST_TEST(options.seeds == 2);
  BOOST_TEST(options.teacher.epochs == 3);
  BOOST_TEST(options.temperature == 4.5);
  BOOST_TEST(options.alpha == 0.25);
  BOOST_TEST(options.data == "here");
  BOOST_TEST(options.fused);
  BOOST_TEST(options.quiet);
  BOOST_TEST(options.student_width == 30);
}

BOOST_AUTO_TEST_CASE(a_flag_for_both_students_yields_to_one_of_its_own) {
  const Options options = parsed({"--alone-epochs", "9", "--student-epochs", "5"});
  BOOST_TEST(options.alone.epochs == 9);
  BOOST_TEST(options.distilled.epochs == 5);
}

BOOST_AUTO_TEST_CASE(flags_override_the_file) {
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  write_file(
      path,
      R"({"epochs": 4, "alone-epochs": 8, "student_width": 20, "alpha": 1, "fused": true, "out": "x"})");
  const Options options = parsed({"--epochs", "6", "--config", path.c_str(), "--student-epochs", "5"});
  BOOST_TEST(options.teacher.epochs == 6);
  BOOST_TEST(options.alone.epochs == 5);
  BOOST_TEST(options.student_width == 20);
  BOOST_TEST(options.alpha == 1);
  BOOST_TEST(options.fused);
  BOOST_TEST(options.out == "x");
}

BOOST_AUTO_TEST_CASE(help_lists_every_flag_with_its_default) {
  std::ostringstream help;
  std::streambuf* const before = std::cout.rdbuf(help.rdbuf());
  const char* arguments[] = {"distill", "--help"};
  const bool run = distill::parse_options(2, arguments).has_value();
  std::cout.rdbuf(before);
  BOOST_TEST(!run);
  for (const char* flag :
       {"--seed", "--seeds", "--epochs", "--student-epochs", "--student-images", "--batch-size",
        "--temperature", "--alpha", "--threads", "--teacher-width", "--student-width", "--data", "--out",
        "--config", "--quiet", "--fused", "--select"})
    BOOST_TEST(contains(help.str(), flag), flag);
  BOOST_TEST(contains(help.str(), "--student-images N=1800"));
}

BOOST_AUTO_TEST_CASE(a_file_with_an_unknown_key_is_refused_by_name) {
  BOOST_TEST(contains(refusal(R"({"epoch": 5})"), "unknown key \"epoch\""));
  BOOST_TEST(contains(refusal(R"({"config": "other.json"})"), "unknown key \"config\""));
}

BOOST_AUTO_TEST_CASE(a_file_with_a_wrong_type_is_refused_by_name) {
  BOOST_TEST(contains(refusal(R"({"epochs": "5"})"), "epochs must be an integer, not \"5\""));
  BOOST_TEST(contains(refusal(R"({"epochs": 2.5})"), "epochs must be an integer, not 2.5"));
  BOOST_TEST(contains(refusal(R"({"epochs": 18446744073709551615})"), "epochs must be an integer"));
  BOOST_TEST(contains(refusal(R"({"alpha": true})"), "alpha must be a number, not true"));
  BOOST_TEST(contains(refusal(R"({"quiet": 1})"), "quiet must be true or false, not 1"));
  BOOST_TEST(contains(refusal(R"({"out": null})"), "out must be a text, not null"));
  BOOST_TEST(contains(refusal(R"({"seeds": [1, 2]})"), "seeds must be an integer, not [1,2]"));
}

BOOST_AUTO_TEST_CASE(a_file_with_a_value_out_of_range_is_refused_even_where_a_flag_overrides_it) {
  BOOST_TEST(contains(refusal(R"({"alpha": 2})"), "alpha must be between 0 and 1, not 2"));
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  write_file(path, R"({"epochs": 0})");
  BOOST_TEST(contains(thrown_text<Error>([&] {
                        parsed({"--config", path.c_str(), "--epochs", "3"});
                      }),
                      "not 0"));
}

BOOST_AUTO_TEST_CASE(a_file_that_is_no_object_is_refused) {
  BOOST_TEST(contains(refusal("[1, 2]"), "must hold one object"));
  BOOST_TEST(contains(refusal("{\"epochs\": 5"), "is not JSON"));
  BOOST_TEST(contains(refusal(""), "is not JSON"));
  BOOST_TEST(contains(refusal(std::string("{}\0}", 4)), "is not JSON"));
  BOOST_TEST(contains(refusal(R"({"epochs": 5, "epochs": 6})"), "\"epochs\" is given twice"));
  BOOST_TEST(contains(refusal(R"({"batch_size": 5, "batch-size": 6})"), "is given twice"));
  BOOST_TEST(contains(thrown_text<Error>([] {
                        parsed({"--config", "/no/such.json"});
                      }),
                      "cannot open /no/such.json"));
}

BOOST_AUTO_TEST_CASE(a_file_too_long_for_a_configuration_is_refused_without_reading_it_all) {
  BOOST_TEST(contains(refusal(std::string(100'000, ' ') + "{}"), "longer than"));
  BOOST_TEST(contains(thrown_text<Error>([] {
                        parsed({"--config", "/dev/zero"});
                      }),
                      "/dev/zero: is longer than"));
  BOOST_TEST(contains(thrown_text<Error>([] { parsed({"--config", "/"}); }), "cannot read /"));
}

// The parser rescans the whole document at the end of each object, and all keys for each key.
BOOST_AUTO_TEST_CASE(a_file_of_too_many_parts_is_refused) {
  std::string list, keys;
  for (int i = 0; i < 5000; ++i) {
    list += "{},";
    keys += '"' + std::to_string(i) + "\":1,";
  }
  BOOST_TEST(contains(refusal(R"({"seeds": [)" + list + "1]}"), "too many parts"));
  BOOST_TEST(contains(refusal("{" + keys + R"("seeds": 1})"), "too many parts"));
}

BOOST_AUTO_TEST_CASE(a_long_or_ugly_value_does_not_spoil_the_message) {
  const std::string many(20'000, '7');
  for (const std::string& text : std::vector<std::string>{
           "{\"epochs\": \"" + many + "\"}", "{\"" + many + "\": 1}",
           "{\"a\": 1, \"x" + many + "\": 1, \"x" + many + "\": 1}", "{\"epochs\": 1 \"" + many + "\"}",
           "{\"epochs\": [" + many + "]}", many, "\"" + many, "{\"epochs\": \"\x7F\"}",
           "{\"epochs\": 1 \"\x7F\"}", "{\"\x7F\": 1}"}) {
    const std::string said = refusal(text);
    BOOST_TEST(said.size() < 500U, said.substr(0, 200));
    BOOST_TEST(said.find('\x7F') == std::string::npos, said.substr(0, 200));
  }
}

BOOST_AUTO_TEST_CASE(a_number_may_begin_with_zeros) {
  const Options options =
      parsed({"--epochs", "010", "--seed", "08", "--alpha", "00.5", "--lr", "01e-3", "--threads=+02", "--set",
              "seeds=011", "--set", "batch_size=0064", "--set", "distilled.lr=00.25", "--set",
              "teacher.dropout=.25", "--student-epochs", "0009"});
  BOOST_TEST(options.teacher.epochs == 10);
  BOOST_TEST(options.seed == 8);
  BOOST_TEST(options.alpha == 0.5);
  BOOST_TEST(options.teacher.lr == 1e-3);
  BOOST_TEST(options.threads == 2);
  BOOST_TEST(options.seeds == 11);
  BOOST_TEST(options.batch_size == 64);
  BOOST_TEST(options.distilled.lr == 0.25);
  BOOST_TEST(options.teacher.dropout == 0.25);
  BOOST_TEST(options.alone.epochs == 9);
  // Every flag that takes an integer.
  Options any;
  for (const distill::Setting& setting : distill::settings_of(any)) {
    if (setting.flag.empty() || !std::holds_alternative<std::vector<std::int64_t*>>(setting.targets))
      continue;
    const std::string flag = "--" + setting.flag;
    const bool teach = (setting.commands & static_cast<unsigned>(distill::Command::distill)) == 0;
    std::vector<const char*> words = {flag.c_str(), "010"};
    if (teach) words.insert(words.begin(), "train-teacher");
    const distill::Json config = distill::config_of(parsed(words));
    const distill::Json value = distill::value_at(config, setting.key);
    if (!value.is_null()) BOOST_TEST(value == 10, flag);
  }
  for (const char* text : {"0x10", "1e1", "0b1", "1'0", "1_0", "--1", "+-1", ""})
    BOOST_TEST(contains(thrown_text<Error>([&] { parsed({"--epochs", text}); }), "--epochs"), text);
}

BOOST_AUTO_TEST_CASE(nonsense_on_the_command_line_is_refused_by_name) {
  const std::vector<std::vector<const char*>> cases = {
      {"--epochs", "0"},
      {"--epochs", "-3"},
      {"--epochs", "many"},
      {"--epochs", "1.5"},
      {"--alpha", "2"},
      {"--alpha", "nan"},
      {"--temperature", "0"},
      {"--temperature", "-1"},
      {"--seeds", "0"},
      {"--seed", "-1"},
      {"--batch-size", "0"},
      {"--threads", "0"},
      {"--epochs"},
      {"--student-images", "0"},
      {"--teacher-width", "0"},
      {"--student-width", "99999999999"},
      {"--lr", "inf"},
      {"--distilled-lr", "0"},
      {"--dropout", "1"},
      {"--out", ""},
      {"--no-such-flag"},
      {"--epochs", "1", "extra"},
      {"--epochs", "99999999999999999999"},
  };
  for (const auto& arguments : cases) {
    const std::string said = thrown_text<Error>([&] { parsed(arguments); });
    const std::string named = arguments.size() == 3 ? arguments.back() : arguments.front();
    BOOST_TEST(contains(said, named), named << ": " << said);
    BOOST_TEST(!contains(said, "\n"), said);
  }
}

BOOST_AUTO_TEST_CASE(every_divergence_is_known_by_its_name) {
  for (const char* name : {"forward_kl", "reverse_kl", "jensen_shannon", "skew_kl", "skew_reverse_kl",
                           "total_variation", "logit_mse"}) {
    const Options options = parsed({"--divergence", name, "--standardize", "--beta", "0.25"});
    BOOST_TEST(retort::name(distill::loss_options(options).divergence) == name);
    BOOST_TEST(distill::loss_options(options).standardize);
    BOOST_TEST(distill::loss_options(options).beta == 0.25);
  }
  // A setting that run folders of earlier versions do not have is only written if it is not at its default.
  BOOST_TEST(!distill::config_of(parsed({}))["distillation"].contains("divergence"));
  BOOST_TEST(distill::config_of(parsed({"--divergence", "skew_kl"}))["distillation"]["divergence"] ==
             "skew_kl");
  BOOST_TEST(contains(refusal(R"({"distillation": {"divergence": "kl"}})"),
                      "distillation.divergence must be one of forward_kl, reverse_kl"));
  for (const auto& [arguments, part] : std::vector<std::pair<std::vector<const char*>, const char*>>{
           {{"--divergence", "jensen_shannon", "--beta", "0"}, "--beta"},
           {{"--divergence", ""}, "must be one of"},
           {{"--beta", "1.5"}, "--beta must be between 0 and 1"},
           {{"--top-k", "2", "--standardize"}, "--top-k needs --divergence forward_kl"},
           {{"train-teacher", "--divergence", "skew_kl"}, "--divergence"}}) {
    const std::string said = thrown_text<Error>([&, words = arguments] { parsed(words); });
    BOOST_TEST(contains(said, part), said);
  }
}

BOOST_AUTO_TEST_CASE(a_file_may_have_sections) {
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  write_file(path, R"({"teacher": {"lr": 0.5, "width": 30}, "distillation": {"alpha": 0.5}, "alone.epochs": 7,
                       "optimizer": {"weight_decay": 0.2}, "distilled": {"weight_decay": 0.3}})");
  const Options options = parsed({"--config", path.c_str()});
  BOOST_TEST(options.teacher.lr == 0.5);
  BOOST_TEST(options.teacher_width == 30);
  BOOST_TEST(options.alpha == 0.5);
  BOOST_TEST(options.alone.epochs == 7);
  BOOST_TEST(options.teacher.weight_decay == 0.2);
  BOOST_TEST(options.alone.weight_decay == 0.2);
  BOOST_TEST(options.distilled.weight_decay == 0.3);
  BOOST_TEST(contains(refusal(R"({"teacher": {"rate": 1}})"), "unknown key \"teacher.rate\""));
  BOOST_TEST(contains(refusal(R"({"teacher": {"lr": "1"}})"), "teacher.lr must be a number, not \"1\""));
  BOOST_TEST(contains(refusal(R"({"teacher": {"lr": {"a": 1}}})"), "teacher.lr must be a number"));
  BOOST_TEST(contains(refusal(R"({"teacher": {"lr": 1, "lr": 1}})"), "is given twice"));
  BOOST_TEST(contains(refusal(R"({"teacher": {"lr": 1}, "lr": 1})"), "\"lr\" is given twice"));
  BOOST_TEST(contains(refusal(R"({"seeds": )" + std::string(10000, '[')), "nested too deeply"));
}

BOOST_AUTO_TEST_CASE(set_overrides_the_file_and_yields_to_a_flag) {
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  write_file(path, R"({"teacher": {"lr": 0.5, "epochs": 3}, "seeds": 4})");
  const Options options =
      parsed({"--set", "teacher.lr=0.25", "--set", "teacher.epochs=5", "--set=teacher.epochs=6", "--config",
              path.c_str(), "--seeds", "7", "--set", "seeds=8", "--set", "out=a=b", "--set",
              "distillation.fused=true", "--set", "data=12", "--quiet"});
  BOOST_TEST(options.teacher.lr == 0.25);
  BOOST_TEST(options.teacher.epochs == 6);
  BOOST_TEST(options.seeds == 7);
  BOOST_TEST(options.out == "a=b");
  BOOST_TEST(options.data == "12");
  BOOST_TEST(options.fused);
  BOOST_TEST(options.quiet);
  BOOST_TEST(parsed({"--set", "optimizer.lr=0.05"}).distilled.lr == 0.05);
}

BOOST_AUTO_TEST_CASE(a_set_that_makes_no_sense_is_refused_by_name) {
  for (const auto& [assignment, part] :
       {std::pair("teacher.rate=1", "unknown key \"teacher.rate\""),
        {"teacher.lr", "give a key and its value"},
        {"=1", "give a key and its value"},
        {"teacher.lr=fast", "--set teacher.lr must be a number, not \"fast\""},
        {"teacher.lr=", "--set teacher.lr must be a number"},
        {"alone.epochs=1.5", "--set alone.epochs must be an integer, not 1.5"},
        {"quiet=1", "--set quiet must be true or false, not 1"},
        {"distillation.alpha=2", "--set distillation.alpha must be between 0 and 1, not 2"},
        {"out=", "--set out is empty"}}) {
    const std::string said = thrown_text<Error>([&, words = assignment] { parsed({"--set", words}); });
    BOOST_TEST(contains(said, part), said);
  }
}

BOOST_AUTO_TEST_CASE(the_examples_file_says_what_holds_without_it) {
  BOOST_TEST(distill::config_of(parsed({"--config", RETORT_EXAMPLES_DIR "/distill/fashion_mnist.json"})) ==
             distill::config_of(Options()));
  // It contains everything that a run's result depends on.
  const distill::Json file =
      distill::Json::parse(read_file(RETORT_EXAMPLES_DIR "/distill/fashion_mnist.json"));
  BOOST_TEST(distill::first_difference(file, distill::config_of(Options())) == "select");
}

BOOST_AUTO_TEST_CASE(a_configuration_can_be_read_back) {
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  const distill::Json written =
      distill::config_of(parsed({"teach", "--teacher", "t.safetensors", "--seed", "3", "--alone-lr", "0.1",
                                 "--threads", "2", "--fused", "--checkpoint-seconds", "0"}));
  write_file(path, written.dump());
  BOOST_TEST(distill::config_of(parsed({"teach", "--config", path.c_str()})) == written);
}

BOOST_AUTO_TEST_CASE(a_subcommand_takes_the_flags_that_it_heeds) {
  BOOST_TEST(name(parsed({}).command) == "distill");
  const Options teach = parsed({"teach", "--teacher-logits", "l.safetensors", "--alpha", "0.5", "--resume"});
  BOOST_TEST(name(teach.command) == "teach");
  BOOST_TEST(teach.teacher_logits == "l.safetensors");
  BOOST_TEST(teach.alpha == 0.5);
  BOOST_TEST(teach.resume);
  BOOST_TEST(parsed({"train-teacher", "--save-logits", "l.safetensors"}).save_logits == "l.safetensors");
  BOOST_TEST(parsed({"evaluate", "m.safetensors"}).model == "m.safetensors");
  for (const auto& [arguments, part] : std::vector<std::pair<std::vector<const char*>, const char*>>{
           {{"train-teacher", "--alpha", "0.5"}, "--alpha"},
           {{"teach", "--epochs", "3", "--teacher", "t"}, "--epochs"},
           {{"evaluate", "m", "--out", "x"}, "--out"},
           {{"evaluate"}, "model"},
           {{"report", "--resume"}, "--resume"},
           {{"--teacher", "t"}, "--teacher"},
           {{"teach"}, "one of --teacher FILE and --teacher-logits"},
           {{"teach", "--teacher", "a", "--teacher-logits", "b"}, "one of --teacher FILE"},
           {{"report", "--out", "/no/such"}, "report: there is no /no/such/config.json"},
           {{"teach", "evaluate", "m"}, "evaluate"}}) {
    const std::string said = thrown_text<Error>([&, words = arguments] { parsed(words); });
    BOOST_TEST(contains(said, part), said);
  }
}

BOOST_AUTO_TEST_CASE(the_students_recipes_are_those_that_were_selected) {
  const std::string page = read_file(RETORT_EXAMPLES_DIR "/distill/SELECTION.md");
  std::istringstream lines(page);
  std::vector<std::string> chosen;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    if (line.find("    --") == 0)
      while (words >> word) chosen.push_back(word);
  }
  BOOST_REQUIRE_EQUAL(chosen.size(), 16U);
  std::vector<const char*> arguments;
  for (const std::string& word : chosen) arguments.push_back(word.c_str());
  const Options selected = parsed(arguments), standard;
  for (const auto& [have, want] :
       {std::pair(standard.alone, selected.alone), {standard.distilled, selected.distilled}}) {
    BOOST_TEST(have.lr == want.lr);
    BOOST_TEST(have.epochs == want.epochs);
    BOOST_TEST(have.weight_decay == want.weight_decay);
    BOOST_TEST(have.dropout == want.dropout);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
