// Distils a language model of bytes. A teacher of six layers is trained on the text. The most probable bytes
// of its answers to a part of the text are stored once. Students of two layers are then trained on this part,
// alone and from the stored answers with four divergences. The metric is bits per byte of held-out lines.
#include <cmath>

#include "common/text.hpp"

namespace rt = retort;
using rt::Tensor;

constexpr std::int64_t vocabulary = 256, longest = 256;  // bytes; a longer line becomes several sequences
constexpr double teacher_share = 0.56, student_share = 0.12, test_share = 0.13;  // shares of a part's lines
constexpr double teacher_lr = 2e-3, student_lr = 3e-3;
constexpr std::int64_t student_epochs = 4, kept = 8;  // the teacher trains for one epoch
constexpr double teacher_weight = 0.7;  // weight of the answers in a student's loss; the text has the rest

// Returns logits of the next byte at each position. Input and output share the embedding.
class Decoder : public rt::Module {
 public:
  Decoder(std::int64_t width, std::size_t depth)
      : bytes(vocabulary, width), positions(longest, width), norm(width) {
    for (const Tensor& table : {bytes.weight, positions.weight}) rt::init::normal_(table, 0, 0.02);
    while (layers.size() < depth)
      layers.emplace_back(
          width, width / 32,
          rt::TransformerEncoderLayerOptions{
              .dim_feedforward = 4 * width, .dropout = 0, .activation = "gelu", .norm_first = true});
  }

  // tokens int64 (N, L) → (N, L, 256). With caches, one per layer, the tokens follow those of earlier calls.
  // Padding needs no mask: it is at the end, where is_causal hides it from all other positions.
  Tensor operator()(const Tensor& tokens, std::vector<rt::AttentionCache>* caches = nullptr) const {
    const bool follows = caches && caches->front().keys.defined();
    const std::int64_t past = follows ? caches->front().keys.size(1) : 0, end = past + tokens.size(1);
    Tensor x = bytes(tokens) + positions(rt::slice(rt::arange(end), 0, past, end));
    for (std::size_t i = 0; i < layers.size(); ++i)
      x = caches ? layers[i](x, (*caches)[i]) : layers[i](x, {.is_causal = true});
    return rt::linear(norm(x), bytes.weight, Tensor());
  }

  rt::Embedding bytes, positions;
  std::vector<rt::TransformerEncoderLayer> layers;
  rt::LayerNorm norm;
  RETORT_MEMBERS(bytes, positions, layers, norm)
};

// A batch as inputs (N, L) and targets (N·L), one byte later. The mask is 0 for targets that are padding.
struct Shifted {
  explicit Shifted(const rt::Batch& batch)
      : input(part(batch.input, 0)),
        target(rt::reshape(part(batch.input, 1), {-1})),
        mask(rt::reshape(part(batch["mask"], 1), {-1})),
        positions(rt::reshape(part(batch["positions"], 0), {-1})) {}
  static Tensor part(const Tensor& x, std::int64_t from) {
    return rt::slice(x, 1, from, x.size(1) - 1 + from);
  }
  Tensor input, target, mask, positions;
};

Tensor rows_of(const Decoder& model, const Tensor& tokens) {
  return reshape(model(tokens), {-1, vocabulary});
}

double bits_per_byte(const Decoder& model, const rt::SequenceDataset& lines) {
  const rt::NoGradGuard no_grad;
  double nats = 0, count = 0;
  for (const rt::Batch& batch : rt::DataLoader(lines, {.batch_size = 32, .seed = 0})) {
    const Shifted at(batch);
    const rt::DistillationInputs inputs{
        .student = rows_of(model, at.input), .labels = at.target, .mask = at.mask};
    nats += rt::distillation_loss(inputs, {.alpha = 0, .reduction = rt::Reduction::sum}).item<double>();
    count += static_cast<double>(rt::sum(at.mask).item<std::int64_t>());
  }
  return nats / count / std::log(2.0);
}

using Loss = std::function<Tensor(const Tensor& logits, const Shifted& at)>;

void train(const rt::RunFolder& run, const std::string& name, Decoder& model,
           const rt::SequenceDataset& lines, std::int64_t epochs, double lr, std::uint64_t seed,
           const example::Options& options, const Loss& loss_of) {
  const auto [decayed, others] = rt::decay_groups(model);
  rt::AdamW optimizer({{decayed, {.lr = lr, .weight_decay = 0.05}}, {others, {.lr = lr, .weight_decay = 0}}});
  rt::DataLoader loader(lines,
                        {.batch_size = 8, .seed = seed, .sampler = rt::length_sampler(lines.lengths(), 8)});
  const std::int64_t steps = epochs * loader.size();
  rt::LRScheduler schedule =
      rt::warmup_cosine(optimizer, {.warmup_steps = steps / 20, .total_steps = steps, .min_factor = 0.05});
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      options.training(epochs, 1));
  const auto bytes_per_line = [](const rt::Batch& some) {
    return rt::mean(some["lengths"].to(rt::DType::float64)).item<double>() - 1;
  };
  while (!training.done())
    for (const rt::Batch& batch : loader)
      training.learn(batch, [&](const rt::Batch& part) {  // parts are weighted by their number of lines
        const Shifted at(part);
        return loss_of(rows_of(model, at.input), at) * (bytes_per_line(part) / bytes_per_line(batch));
      });
}

std::string text_of(const Decoder& model) {
  std::vector<rt::AttentionCache> caches(model.layers.size());
  rt::Generator generator(7);
  const Tensor text = rt::generate([&](const Tensor& tokens) { return model(tokens, &caches); },
                                   rt::full({1, 1}, '\n', rt::DType::int64),
                                   {.length = 250, .temperature = 0.7, .top_k = 20, .generator = &generator});
  const auto bytes = text.data<std::int64_t>();
  return {bytes.begin(), bytes.end()};
}

// Shows the attention of the last layer's heads to the beginning of a line, one picture per head.
void show_attention(rt::Report& report, Decoder& model, const rt::SequenceDataset& lines) {
  const std::int64_t row = 0, length = std::min<std::int64_t>(40, lines.lengths().data<std::int64_t>()[0]);
  const Tensor tokens = rt::slice(lines.fetch({&row, 1}).input, 1, 0, length);
  const std::string last = rt::message("layers.{}.norm1", model.layers.size() - 1);
  const rt::NoGradGuard no_grad;
  const rt::FeatureRecorder recorder(model, {last});
  static_cast<void>(model(tokens));
  const Tensor weights =
      model.layers.back().self_attn.weights(recorder[last], recorder[last], {.is_causal = true});
  std::vector<std::string> names;
  for (const std::int64_t token : tokens.data<std::int64_t>())
    names.push_back(token == '\n' ? "↵" : std::string(1, static_cast<char>(token)));
  const Tensor shades = weights / rt::amax(weights, {3}, true);  // the maximum of each row is 1
  for (std::int64_t head = 0; head < weights.size(1); ++head)
    report.heat_map(rt::message("Head {}: from each byte (row) to earlier ones", head + 1),
                    rt::select(rt::select(shades, 0, 0), 0, head), names, names);
}

void run(const example::Options& options) {
  const rt::SequenceDataset all(example::byte_sequences(example::read_lines(options.data), longest));
  const auto parts = example::three_parts(all.size(), options);
  const auto first = [&](const std::vector<std::int64_t>& rows, double share) {
    return all.subset(std::span(rows).first(static_cast<std::size_t>(share * double(std::ssize(rows)))));
  };
  const rt::SequenceDataset text = first(parts[0], teacher_share), transfer = first(parts[0], student_share);
  const rt::SequenceDataset test = first(parts[2], test_share);
  const rt::RunFolder folder = options.folder({{"data", options.data},
                                               {"scale", options.scale},
                                               {"teacher_share", teacher_share},
                                               {"teacher_lr", teacher_lr},
                                               {"student_share", student_share},
                                               {"student_epochs", student_epochs},
                                               {"student_lr", student_lr},
                                               {"kept", kept},
                                               {"temperature", 1},
                                               {"alpha", teacher_weight}});
  example::Results results({"bits per byte"}, folder);
  rt::Report report("A language model of bytes, distilled",
                    rt::message("Bits per byte of held-out lines. {}", results.explanation));
  rt::manual_seed(0);
  Decoder teacher(96, 6);
  const Loss from_text = [](const Tensor& logits, const Shifted& at) {
    return rt::distillation_loss({.student = logits, .labels = at.target, .mask = at.mask}, {.alpha = 0});
  };
  train(folder, "teacher", teacher, text, 1, teacher_lr, 0, options, from_text);
  results.add("teacher", {bits_per_byte(teacher, test)});
  const auto answer = [&](std::int64_t row) { return rows_of(teacher, transfer.fetch({&row, 1}).input); };
  const rt::SparseTeacher stored = example::stored_answers(folder, transfer.size(), answer, kept, 1);
  const auto from_answers = [&](rt::Divergence divergence, double beta) -> Loss {
    return [&, divergence, beta](const Tensor& logits, const Shifted& at) {
      const rt::SparseTeacher answers = example::answers_at(stored, at.positions);
      if (divergence == rt::Divergence::forward_kl)
        return rt::sparse_distillation_loss(
            {.student = logits, .teacher = answers, .labels = at.target, .mask = at.mask},
            {.alpha = teacher_weight});
      const Tensor dense = rt::dense_logits(answers);
      return rt::distillation_loss(
          {.student = logits, .teacher = dense, .labels = at.target, .mask = at.mask},
          {.alpha = teacher_weight, .divergence = divergence, .beta = beta});
    };
  };
  const std::vector<std::pair<std::string, Loss>> ways{
      {"alone", from_text},
      {"forward KL", from_answers(rt::Divergence::forward_kl, 0)},
      {"reverse KL", from_answers(rt::Divergence::reverse_kl, 0)},
      {"Jensen-Shannon", from_answers(rt::Divergence::jensen_shannon, 0.5)},
      {"skew KL", from_answers(rt::Divergence::skew_kl, 0.1)}};
  for (std::uint64_t seed = 0; seed < std::uint64_t(options.seeds); ++seed)
    for (const auto& [way, loss] : ways) {
      rt::manual_seed(seed + 1);  // the same initial weights and batches for each way
      Decoder student(64, 2);
      train(folder, rt::message("{}, seed {}", way, seed), student, transfer, student_epochs, student_lr,
            seed, options, loss);
      results.add(way, {bits_per_byte(student, test)});
    }
  results.show(report);
  const std::string sample = text_of(teacher);
  std::printf("\nThe teacher writes:%s\n", sample.c_str());
  report.section("The teacher writes", sample).section("Attention", "Weights in the teacher's last layer.");
  show_attention(report, teacher, test);
  if (folder.writes()) report.write(folder.file("report.html"));
}

int main(int argc, char** argv) {
  return example::run_program(argc, argv, "language_model",
                              {.about = "Distils a language model of bytes with four divergences.",
                               .data_help = "a text; make language-model writes the default",
                               .data = "build/release/kjv_text.txt",
                               .out = "runs/language_model"},
                              run, example::add_scale);
}
