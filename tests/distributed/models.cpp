#include "models.hpp"

#include <utility>

namespace distributed {
namespace {

namespace rt = retort;

struct Mlp : rt::Module {
  rt::Linear frozen{20, 32}, first{32, 48}, unused{7, 5}, rare{48, 48}, tied{48, 48}, last{48, 4};
  rt::Dropout dropout{0.3};
  RETORT_MEMBERS(frozen, first, unused, rare, tied, last)

  Mlp() { frozen.set_requires_grad(false); }
  rt::Tensor operator()(const rt::Tensor& x) {
    rt::Tensor h = dropout(rt::relu(first(rt::relu(frozen(x)))));
    if (x.values<float>()[0] > 0) h = h + rare(h);
    h = rt::relu(tied(rt::relu(tied(h))));
    return last(h);
  }
};

struct Cnn : rt::Module {
  rt::Conv2d first{1, 6, 3, {.padding = 1}}, second{6, 8, 3, {.stride = 2, .padding = 1}};
  rt::BatchNorm2d norm{6};
  rt::Linear head{8 * 4 * 4, 4};
  RETORT_MEMBERS(first, norm, second, head)

  rt::Tensor operator()(const rt::Tensor& x) {
    return head(rt::flatten(rt::relu(second(rt::relu(norm(first(x))))), 1));
  }
};

struct Transformer : rt::Module {
  rt::Embedding tokens{30, 16}, positions{10, 16};
  rt::TransformerEncoderLayer layer{16, 4, {.dim_feedforward = 32, .dropout = 0.1, .norm_first = true}};
  rt::Linear head{16, 30};
  RETORT_MEMBERS(tokens, positions, layer, head)

  rt::Tensor operator()(const rt::Tensor& x) {
    return head(layer(tokens(x) + positions(rt::arange(x.size(1))), {.is_causal = true}));
  }
};

// 61 rows: batches of 24 leave one of 13, which 8 shards cut unevenly, and one shard of 5 rows in 8 is empty.
constexpr std::int64_t rows = 61;

rt::Tensor classes(const rt::Shape& shape, std::int64_t count) {
  return (rt::rand(shape) * static_cast<double>(count)).to(rt::DType::int64);
}

template <class Model>
Task classifier(std::unique_ptr<Model> model, const rt::Tensor& inputs) {
  Model* const raw = model.get();
  return {std::move(model), rt::Dataset(inputs, classes({rows}, 4)),
          [raw](const rt::Batch& batch) { return rt::cross_entropy((*raw)(batch.input), batch.target); }};
}

}  // namespace

Task mlp() { return classifier(std::make_unique<Mlp>(), rt::randn({rows, 20})); }
Task cnn() { return classifier(std::make_unique<Cnn>(), rt::randn({rows, 1, 8, 8})); }

Task transformer() {
  auto model = std::make_unique<Transformer>();
  model->to(rt::DType::float64);
  Transformer* const raw = model.get();
  return {std::move(model), rt::Dataset(classes({rows, 10}, 30), classes({rows, 10}, 30)),
          [raw](const rt::Batch& batch) {
            const rt::Tensor logits = (*raw)(batch.input);
            return rt::cross_entropy(rt::reshape(logits, {-1, 30}), rt::reshape(batch.target, {-1}));
          }};
}

}  // namespace distributed
