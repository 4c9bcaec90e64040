// Predicts which of the 66 books of the Bible a verse is from. A transformer over the words is the teacher.
// Its most probable books for the training verses are stored once. For each seed, one small bidirectional
// LSTM is trained alone and one from the stored answers. Some metrics weight all books equally.
#include <map>

#include "common/text.hpp"

namespace rt = retort;
using example::Loss;
using rt::Tensor;

constexpr std::int64_t batch_size = 64, longest = 128;  // words
constexpr std::int64_t teacher_epochs = 4, student_epochs = 15, kept = 10;
constexpr double temperature = 1, teacher_weight = 0.9, teacher_lr = 2e-3, student_lr = 4e-3;

// The verses as sequences of word numbers, in three parts.
struct Verses {
  std::vector<std::string> books;
  std::int64_t words = 2;  // 0: padding; 1: a word that occurs less than twice in the training verses
  std::vector<rt::SequenceDataset> parts;  // for training, validation and test
};

// Reads lines such as "1Sm3:4 That the LORD called Samuel".
Verses read_verses(const example::Options& options) {
  Verses verses;
  std::map<std::string, std::int64_t> book_numbers, word_counts, word_numbers;
  std::vector<std::vector<std::string>> split;
  std::vector<std::int64_t> labels;
  for (const std::string& line : example::read_lines(options.data)) {
    const std::size_t space = line.find(' '), colon = line.find_last_of(':', space);
    if (space == std::string::npos || colon == std::string::npos)
      throw rt::ValueError(rt::message(
          "{}: line {} does not begin with a book, a chapter and a verse, such as '1Sm3:4 That the LORD'",
          options.data, split.size() + 1));
    const std::string book = line.substr(0, 1 + line.find_last_not_of("0123456789", colon - 1));
    const auto [entry, is_new] = book_numbers.emplace(book, std::ssize(book_numbers));
    if (is_new) verses.books.push_back(book);
    labels.push_back(entry->second);
    split.push_back(example::words_of(line.substr(space + 1)));
  }
  const auto parts = example::three_parts(std::ssize(labels), options);
  for (const std::int64_t row : parts.front())
    for (const std::string& word : split[row])
      if (++word_counts[word] == 2) word_numbers[word] = verses.words++;
  std::vector<std::vector<std::int64_t>> sequences;
  for (const auto& verse : split) {
    std::vector<std::int64_t>& numbers = sequences.emplace_back();
    for (const std::string& word : verse)
      if (numbers.size() < longest) numbers.push_back(word_numbers.contains(word) ? word_numbers[word] : 1);
  }
  const rt::SequenceDataset all(sequences, {{"target", rt::tensor(labels)}});
  for (const auto& rows : parts) verses.parts.push_back(all.subset(rows));
  return verses;
}

// The mean over the words of each verse, (N, L, D) → (N, D).
Tensor mean_of_words(const Tensor& x, const rt::Batch& batch) {
  const Tensor mask = rt::unsqueeze(batch["mask"], 2).to(x.dtype());
  return rt::sum(x * mask, 1) / rt::unsqueeze(batch["lengths"].to(x.dtype()), 1);
}

class Teacher : public rt::Module {
 public:
  Teacher(std::int64_t vocabulary, std::int64_t books, std::int64_t width = 96)
      : words(vocabulary, width, {.padding_idx = 0}),
        positions(longest, width),
        dropout(0.3),
        out(width, books) {
    for (const Tensor& table : {words.weight, positions.weight}) rt::init::normal_(table, 0, 0.05);
    for (int i = 0; i < 2; ++i)
      layers.emplace_back(width, 4,
                          rt::TransformerEncoderLayerOptions{.dim_feedforward = 2 * width, .dropout = 0.2});
  }
  Tensor operator()(const rt::Batch& batch) const {
    Tensor x = dropout(words(batch.input) + positions(rt::arange(batch.input.size(1))));
    for (const auto& layer : layers) x = layer(x, {.key_mask = batch["mask"]});
    return out(dropout(mean_of_words(x, batch)));
  }

  rt::Embedding words, positions;
  std::vector<rt::TransformerEncoderLayer> layers;
  rt::Dropout dropout;
  rt::Linear out;
  RETORT_MEMBERS(words, positions, layers, dropout, out)
};

class Student : public rt::Module {
 public:
  Student(std::int64_t vocabulary, std::int64_t books, std::int64_t width = 32)
      : words(vocabulary, width, {.padding_idx = 0}),
        lstm(width, width, {.bidirectional = true}),
        dropout(0.3),
        out(2 * width, books) {}
  Tensor operator()(const rt::Batch& batch) const {
    const Tensor x = lstm(dropout(words(batch.input)), {.lengths = batch["lengths"]}).output;
    return out(dropout(mean_of_words(x, batch)));
  }

  rt::Embedding words;
  rt::LSTM lstm;
  rt::Dropout dropout;
  rt::Linear out;
  RETORT_MEMBERS(words, lstm, dropout, out)
};

// The logits of all verses, in order.
template <class Model>
Tensor logits_of(Model& model, const rt::SequenceDataset& verses) {
  return rt::predict(model, verses, {.batch_size = 256});
}

template <class Model>
void train(const rt::RunFolder& run, const std::string& name, Model& model, const Verses& verses,
           std::int64_t epochs, double lr, std::uint64_t seed, const example::Options& options,
           const Loss& loss_of) {
  rt::AdamW optimizer(model.parameters(), {.lr = lr, .weight_decay = 0.02});
  rt::DataLoader loader(verses.parts[0],
                        {.batch_size = batch_size,
                         .seed = seed,
                         .sampler = rt::length_sampler(verses.parts[0].lengths(), batch_size)});
  rt::LRScheduler schedule = rt::warmup_cosine(
      optimizer, {.warmup_steps = loader.size() / 4, .total_steps = epochs * loader.size()});
  const auto evaluate = [&]() -> rt::JsonFields {
    const Tensor logits = logits_of(model, verses.parts[1]), books = verses.parts[1]["target"];
    return {{"accuracy", rt::metrics::accuracy(logits, books)},
            {"balanced_accuracy", rt::metrics::balanced_accuracy(logits, books)},
            {"nll", rt::metrics::nll(logits, books)}};
  };
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      options.training(epochs, 1, 50, evaluate));
  while (!training.done())
    for (const rt::Batch& batch : loader)
      training.learn(batch, [&](const rt::Batch& part) { return loss_of(model(part), part); });
}

void run(const example::Options& options) {
  const Verses verses = read_verses(options);
  const rt::RunFolder folder = options.folder({{"data", options.data},
                                               {"scale", options.scale},
                                               {"teacher_epochs", teacher_epochs},
                                               {"teacher_lr", teacher_lr},
                                               {"student_epochs", student_epochs},
                                               {"student_lr", student_lr},
                                               {"kept", kept},
                                               {"temperature", temperature},
                                               {"alpha", teacher_weight}});
  example::Results results({"accuracy", "balanced accuracy", "macro F1", "nll"}, folder);
  rt::Report report("Which book is a verse from?",
                    rt::message("Metrics of the test verses. {}", results.explanation));
  const Tensor truth = verses.parts[2]["target"];
  const auto judge = [&](const std::string& way, const Tensor& logits) {
    results.add(way, {rt::metrics::accuracy(logits, truth), rt::metrics::balanced_accuracy(logits, truth),
                      rt::metrics::macro_f1(logits, truth), rt::metrics::nll(logits, truth)});
  };
  rt::manual_seed(0);
  Teacher teacher(verses.words, std::ssize(verses.books));
  train(folder, "teacher", teacher, verses, teacher_epochs, teacher_lr, 0, options, example::label_loss);
  judge("teacher", logits_of(teacher, verses.parts[2]));

  const rt::SparseTeacher stored = example::stored_answers(
      folder, 1, [&](std::int64_t) { return logits_of(teacher, verses.parts[0]); }, kept, temperature);
  const Loss from_answers = [&](const Tensor& logits, const rt::Batch& batch) {
    return rt::sparse_distillation_loss({.student = logits,
                                         .teacher = example::answers_at(stored, rt::tensor(batch.rows)),
                                         .labels = batch.target},
                                        {.alpha = teacher_weight});
  };
  for (std::int64_t seed = 0; seed < options.seeds; ++seed)
    for (const auto& [way, loss] :
         {std::pair{"alone", Loss(example::label_loss)}, {"distilled", from_answers}}) {
      const auto draws = static_cast<std::uint64_t>(seed);
      rt::manual_seed(draws + 1);  // the same initial weights and batches for both
      Student student(verses.words, std::ssize(verses.books));
      train(folder, rt::message("{}, seed {}", way, seed), student, verses, student_epochs, student_lr, draws,
            options, loss);
      judge(way, logits_of(student, verses.parts[2]));
    }
  results.show(report);
  report.section("The teacher", "Its answers to the test verses; books in the order of the text.");
  const Tensor logits = logits_of(teacher, verses.parts[2]);
  report.calibration("Teacher", logits, truth);
  report.confusion("Answers (columns) to each book (rows)", rt::metrics::confusion_matrix(logits, truth),
                   verses.books);
  if (folder.writes()) report.write(folder.file("report.html"));
}

int main(int argc, char** argv) {
  return example::run_program(
      argc, argv, "verses",
      {.about = "Learns which book of the Bible a verse is from, and distils the answers.",
       .data_help = "lines such as \"1Sm3:4 That the LORD called Samuel\"; make verses writes the default",
       .data = "build/release/kjv.txt",
       .out = "runs/verses"},
      run, example::add_scale);
}
