#include "retort/framework/distributed/data_parallel.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/draws.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/node.hpp"
#include "retort/framework/core/state_checks.hpp"
#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/distributed/agreement_impl.hpp"
#include "retort/framework/distributed/exchange_impl.hpp"
#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/elementwise.hpp"

namespace retort {
namespace {

using detail::Announcement;
using detail::ShardRange;

// True for a batch of a loader that prepares only this process's shards.
bool in_shards(const Batch& batch) {
  return !batch.input.defined() && !batch.target.defined() && batch.others.empty() && !batch.rows.empty();
}

std::int64_t rows_of(const Batch& batch) {
  if (in_shards(batch)) return static_cast<std::int64_t>(batch.rows.size());
  std::int64_t rows = -1;
  const auto count = [&rows](std::string_view name, const Tensor& tensor) {
    if (!tensor.defined()) return;
    if (tensor.dim() == 0)
      throw ShapeError(
          message("DataParallel::backward: the batch's '{}' has shape (); its first dimension must be the "
                  "rows",
                  name));
    if (rows >= 0 && tensor.size(0) != rows)
      throw ShapeError(message(
          "DataParallel::backward: the batch's '{}' has {}, but another of its tensors {}; all are cut "
          "by rows, so let the function capture what belongs to no row, such as class weights",
          name, detail::counted(tensor.size(0), "row"), rows));
    rows = tensor.size(0);
  };
  count("input", batch.input);
  count("target", batch.target);
  for (const auto& [name, tensor] : batch.others) count(name, tensor);
  if (rows <= 0) throw ValueError("DataParallel::backward: the batch has no rows");
  return rows;
}

// A copy of the rows; for all rows, the tensor itself.
Tensor rows_of(const Tensor& tensor, const ShardRange& range) {
  if (!tensor.defined() || range.size() == tensor.size(0)) return tensor;
  Shape shape = tensor.shape();
  shape[0] = range.size();
  const Tensor rows = empty(shape, tensor.dtype());
  const std::size_t row_bytes =
      detail::Access::array(tensor).byte_size() / static_cast<std::size_t>(tensor.size(0));
  std::memcpy(detail::Access::array(rows).write(),
              static_cast<const std::byte*>(detail::Access::array(tensor).read()) +
                  static_cast<std::size_t>(range.begin) * row_bytes,
              static_cast<std::size_t>(range.size()) * row_bytes);
  return rows;
}

Batch rows_of(const Batch& batch, const ShardRange& range) {
  Batch shard{.input = rows_of(batch.input, range), .target = rows_of(batch.target, range)};
  for (const auto& [name, tensor] : batch.others) shard.others.emplace_back(name, rows_of(tensor, range));
  if (static_cast<std::int64_t>(batch.rows.size()) >= range.end)
    shard.rows.assign(batch.rows.begin() + range.begin, batch.rows.begin() + range.end);
  shard.key = batch.key;
  return shard;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return detail::Access::array(a).byte_size() == 0 ||
         std::memcmp(detail::Access::array(a).read(), detail::Access::array(b).read(),
                     detail::Access::array(a).byte_size()) == 0;
}

}  // namespace

struct DataParallel::State {
  Tensors parameters, buffers;
  std::unique_ptr<detail::Exchange> exchange = nullptr;
  // A hash of the element types and of which parameters require a gradient.
  std::uint64_t layout = 0;
};

namespace {
// The report of a rank after its own shards, followed by its losses.
struct Answer {
  std::int64_t failed = 0;
};
}  // namespace

// One call of backward. The items are the parameters that require a gradient, last first, since the last
// one's gradient is complete first; then the buffers.
class DataParallel::Step {
 public:
  Step(DataParallel& parallel, const Batch& batch)
      : options_(parallel.options_),
        state_(*parallel.state_),
        statistics_(parallel.statistics_),
        transport_(parallel.world_.size() > 1 ? parallel.world_.transport() : nullptr),
        batch_(batch),
        rows_(rows_of(batch)),
        own_(detail::shards_of_rank(options_.shards, parallel.world_.size(), parallel.world_.rank())),
        averaged_(std::min(rows_, options_.shards) > 1),
        losses_(static_cast<std::size_t>(options_.shards)) {
    const Generator generator = detail::take_from_default(1);
    key_ = detail::mix(generator.seed(), generator.position());
    for (const Tensor& buffer : state_.buffers) buffers_before_.push_back(buffer.detach().clone());
    list_items();
  }

  double run(const std::function<Tensor(const Batch&)>& f) {
    if (transport_) ask();
    std::exception_ptr failure;
    std::string text;
    try {
      for (std::int64_t shard = own_.begin; shard < own_.end; ++shard) compute(shard, f);
    } catch (const std::exception& error) {
      failure = std::current_exception();
      text = error.what();
    } catch (...) {
      failure = std::current_exception();
      text = "an exception of unknown type";
    }
    for (std::size_t i = 0; i < state_.buffers.size(); ++i)
      detail::copy_values(buffers_before_[i], state_.buffers[i]);
    Tensors sums;
    if (transport_) {
      sums = exchange(failure, text);
    } else if (failure) {
      std::rethrow_exception(failure);
    } else {
      sums = std::move(nodes_.front().sums);
    }
    apply(sums);
    ++statistics_.steps;
    return *loss({0, options_.shards});
  }

 private:
  struct Node {
    ShardRange range;
    Tensors sums;  // per item
  };

  void list_items() {
    for (std::size_t i = state_.parameters.size(); i-- > 0;) {
      const Tensor& parameter = state_.parameters[i];
      if (!parameter.requires_grad()) continue;
      leaves_.emplace(static_cast<const detail::Leaf*>(detail::Access::node(parameter)), targets_.size());
      layout_ = detail::mix(layout_ + static_cast<std::uint64_t>(parameter.dtype()), i);
      targets_.push_back(parameter);
    }
    parameters_ = targets_.size();
    for (const Tensor& buffer : state_.buffers) {
      layout_ = detail::mix(layout_, static_cast<std::uint64_t>(buffer.dtype()));
      targets_.push_back(buffer);
    }
  }

  // A hash of one cache line of each parameter, at a position that changes with the step. It is cheap, and
  // ranks that make other updates differ almost everywhere.
  std::uint64_t sample_parameters() const {
    constexpr std::size_t line = 64;
    std::uint64_t hash = 0;
    for (const Tensor& parameter : state_.parameters) {
      const auto& array = detail::Access::array(parameter);
      const std::size_t size = array.byte_size(), lines = (size + line - 1) / line;
      if (lines == 0) continue;
      const std::size_t begin = static_cast<std::size_t>(statistics_.steps) * 7919 % lines * line;
      hash = detail::hash_bytes(static_cast<const std::byte*>(array.read()) + begin,
                                std::min(line, size - begin), hash);
    }
    return hash;
  }

  // Compares the preconditions of the step while the first shards are computed.
  void ask() {
    transport_->clear();
    announcement_ = {Announcement::Call::step,
                     {detail::hash_batch(batch_), key_, layout_, sample_parameters()}};
    announcements_.resize(static_cast<std::size_t>(transport_->size()));
    gather_ = transport_->start_all_gather(&announcement_, announcements_.data(), sizeof announcement_);
  }

  // All ranks compare the same data, so all or none throw.
  void require_agreement() {
    while (!transport_->done(gather_)) transport_->progress(true);
    disagreement_ = detail::call_difference(announcements_);
    if (!disagreement_.empty()) throw Error(disagreement_);
    for (std::size_t rank = 1; rank < announcements_.size(); ++rank) {
      // The details are hashes of the batch, the generator, the layout and a sample of the parameters.
      const auto &own = announcements_[rank].details, &first = announcements_[0].details;
      if (own[0] != first[0])
        disagreement_ = message(
            "DataParallel::backward: rank {} has another batch than rank 0; every rank must load the "
            "same batches in the same order, so give loaders the same seed and batch size",
            rank);
      else if (own[1] != first[1])
        disagreement_ = message(
            "DataParallel::backward: the random numbers of rank {} and rank 0 differ; call "
            "manual_seed with the same seed on every rank, and draw equally often",
            rank);
      else if (own[2] != first[2])
        disagreement_ = message(
            "DataParallel::backward: rank {} has other parameters that require a gradient, or other "
            "element types, than rank 0",
            rank);
      else if (own[3] != first[3])
        disagreement_ = message(
            "DataParallel::backward: the parameters of rank {} and rank 0 differ; every rank must make the "
            "same updates, with the same optimiser and learning rate",
            rank);
      if (!disagreement_.empty()) throw ValueError(disagreement_);
    }
    started_ = true;
    if (!state_.exchange || state_.layout != layout_) {
      std::vector<detail::Exchange::Item> items;
      for (const Tensor& target : targets_)
        items.push_back({target.shape(), target.dtype(), items.size() >= parameters_});
      state_.exchange = std::make_unique<detail::Exchange>(*transport_, options_.shards, std::move(items),
                                                           options_.bucket_bytes);
      state_.layout = layout_;
    }
    traffic_before_ = state_.exchange->traffic();
    state_.exchange->start();
  }

  void compute(std::int64_t shard, const std::function<Tensor(const Batch&)>& f) {
    const bool last = shard + 1 == own_.end;
    Node node{{shard, shard + 1}, Tensors(targets_.size())};
    // Complete nodes to the left of this one: adjacent left siblings that can be combined with it.
    std::size_t siblings = 0;
    for (ShardRange range = node.range; siblings < nodes_.size(); ++siblings) {
      range.begin = nodes_[nodes_.size() - 1 - siblings].range.begin;
      if (!detail::is_node(range, options_.shards)) break;
    }
    const auto plus_siblings = [&](std::size_t item, Tensor value, std::size_t count) {
      for (std::size_t k = 1; k <= count; ++k)
        value = detail::add_nodes(std::move(nodes_[nodes_.size() - k].sums[item]), value);
      return value;
    };
    const auto merge = [&](std::size_t item, Tensor value) {
      node.sums[item] = plus_siblings(item, std::move(value), siblings);
    };
    // In the last shard; the exchange does the last of these additions.
    const auto put = [&](std::size_t item, Tensor value) {
      Tensors sums;
      for (std::size_t k = 0; k + siblings < nodes_.size(); ++k)
        sums.push_back(std::move(nodes_[k].sums[item]));
      if (siblings > 0) {
        value = plus_siblings(item, std::move(value), siblings - 1);
        sums.push_back(std::move(nodes_[nodes_.size() - siblings].sums[item]));
        state_.exchange->put(item, sums, value);
      } else {
        sums.push_back(std::move(value));
        state_.exchange->put(item, sums);
      }
    };

    std::vector<bool> merged(targets_.size(), false);
    const ShardRange range = detail::rows_of_shard(rows_, options_.shards, shard);
    if (range.size() > 0) {
      const double weight = static_cast<double>(range.size()) / static_cast<double>(rows_);
      Generator generator(detail::mix(key_, static_cast<std::uint64_t>(shard)));
      const GeneratorGuard guard(generator);
      for (std::size_t i = 0; i < state_.buffers.size(); ++i)
        if (!same_bits(state_.buffers[i], buffers_before_[i]))
          detail::copy_values(buffers_before_[i], state_.buffers[i]);
      const Tensor loss = in_shards(batch_) ? f(own_shard(shard, range)) : f(rows_of(batch_, range));
      if (!loss.defined() || loss.size() != 1)
        throw ShapeError(
            message("DataParallel::backward: the function's loss {}; it must have one element, such as the "
                    "mean over the rows",
                    loss.defined() ? message("has shape {}", loss.shape()) : "is undefined"));
      losses_[static_cast<std::size_t>(shard)] = weight * loss.item<double>();
      if (last && transport_) require_agreement();
      const NoGradGuard no_grad;
      detail::backward(
          loss, full(loss.shape(), weight, loss.dtype()), {}, [&](const detail::Leaf& leaf, Tensor gradient) {
            const auto found = leaves_.find(&leaf);
            if (found == leaves_.end())
              throw ValueError(
                  message("DataParallel::backward: the loss depends on a tensor of shape {} that "
                          "requires a gradient but is not a parameter of the model; make it a member, "
                          "or detach it",
                          leaf.shape));
            const std::size_t item = found->second;
            if (last && transport_)
              put(item, std::move(gradient));
            else
              merge(item, std::move(gradient));
            merged[item] = true;
          });
      for (std::size_t i = 0; i < state_.buffers.size(); ++i) {
        merge(parameters_ + i, change_of_buffer(i, weight));
        merged[parameters_ + i] = true;
      }
    }
    for (std::size_t item = 0; item < targets_.size(); ++item)
      if (!merged[item]) merge(item, {});
    if (siblings > 0) node.range.begin = nodes_[nodes_.size() - siblings].range.begin;
    nodes_.resize(nodes_.size() - siblings);
    nodes_.push_back(std::move(node));
  }

  const Batch& own_shard(std::int64_t shard, const ShardRange& range) const {
    const auto at = static_cast<std::size_t>(shard - own_.begin);
    if (static_cast<std::int64_t>(batch_.shards.size()) != own_.size() ||
        !std::ranges::equal(batch_.shards[at].rows,
                            std::span(batch_.rows).subspan(range.begin, range.size())))
      throw ValueError(
          message("DataParallel::backward: the batch was loaded for other shards; give the loader .shards = "
                  "own_shards(world, {})",
                  options_.shards));
    const Batch& own = batch_.shards[at];
    for (const Tensor& x : {own.input, own.target})
      if (x.defined() && (x.dim() == 0 || x.size(0) != range.size()))
        throw ShapeError(
            message("DataParallel::backward: {} rows were drawn for shard {}, which has {}; with .shards, "
                    ".collate and .transform must keep the number of rows, by which shards are weighted",
                    range.size(), shard, detail::shapes_of(own)));
    return own;
  }

  // The contribution of a shard to a buffer; undefined if it has not changed the buffer.
  Tensor change_of_buffer(std::size_t i, double weight) const {
    const Tensor &after = state_.buffers[i], &before = buffers_before_[i];
    if (same_bits(after, before)) return {};
    if (!averages(i)) return after.detach().clone();
    return (after.detach() - before) * weight;
  }
  bool averages(std::size_t buffer) const {
    return averaged_ && is_floating_point(state_.buffers[buffer].dtype());
  }

  Tensors exchange(std::exception_ptr failure, std::string text) {
    const auto begin = std::chrono::steady_clock::now();
    if (!started_ && disagreement_.empty()) {
      try {
        require_agreement();
      } catch (...) {
        failure = std::current_exception();
      }
    }
    if (!disagreement_.empty()) std::rethrow_exception(failure);
    detail::Exchange& exchange = *state_.exchange;
    const std::size_t locals = exchange.local_nodes().size();
    for (std::size_t item = 0; item < targets_.size(); ++item) {
      if (exchange.has(item)) continue;
      Tensors sums(locals);
      for (std::size_t k = 0; k < locals && !failure; ++k) sums[k] = nodes_[k].sums[item];
      exchange.put(item, sums);
    }

    const std::size_t most =
        static_cast<std::size_t>((options_.shards + transport_->size() - 1) / transport_->size());
    const std::size_t bytes = sizeof(Answer) + most * sizeof(losses_[0]);
    std::vector<std::byte> answer(bytes), answers(bytes * static_cast<std::size_t>(transport_->size()));
    const Answer own{.failed = failure ? 1 : 0};
    std::memcpy(answer.data(), &own, sizeof own);
    std::memcpy(answer.data() + sizeof own, losses_.data() + own_.begin,
                static_cast<std::size_t>(own_.size()) * sizeof(losses_[0]));
    const auto answered = transport_->start_all_gather(answer.data(), answers.data(), bytes);
    Tensors sums = exchange.finish();
    while (!transport_->done(answered)) transport_->progress(true);
    const auto& traffic = exchange.traffic();
    statistics_.messages += traffic.messages - traffic_before_.messages;
    statistics_.bytes_sent += traffic.sent - traffic_before_.sent;
    statistics_.bytes_broadcast += traffic.broadcast - traffic_before_.broadcast;
    statistics_.seconds_waiting +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

    for (int rank = 0; rank < transport_->size(); ++rank) {
      const std::byte* const from = answers.data() + bytes * static_cast<std::size_t>(rank);
      Answer theirs;
      std::memcpy(&theirs, from, sizeof theirs);
      if (theirs.failed != 0) {
        text = detail::broadcast_text(*transport_, text, rank);
        if (failure) std::rethrow_exception(failure);
        std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the failed rank prints first
        throw Error(message("DataParallel::backward: rank {} failed: {}", rank, text));
      }
      const ShardRange shards = detail::shards_of_rank(options_.shards, transport_->size(), rank);
      std::memcpy(losses_.data() + shards.begin, from + sizeof theirs,
                  static_cast<std::size_t>(shards.size()) * sizeof(losses_[0]));
    }
    return sums;
  }

  void apply(Tensors& sums) {
    const NoGradGuard no_grad;
    for (std::size_t item = 0; item < targets_.size(); ++item) {
      Tensor& sum = sums[item];
      if (!sum.defined()) continue;
      const Tensor& target = targets_[item];
      if (item >= parameters_) {
        detail::copy_values(averages(item - parameters_) ? target + sum : sum, target);
      } else if (const Tensor before = target.grad(); before.defined()) {
        target.set_grad(before + sum);
      } else {
        target.set_grad(detail::Access::unique(sum) ? std::move(sum) : sum.clone());
      }
    }
  }

  // The sum of the weighted losses at a node; empty for shards without rows.
  std::optional<double> loss(const ShardRange& node) const {
    if (node.size() == 1) {
      if (detail::rows_of_shard(rows_, options_.shards, node.begin).size() == 0) return {};
      return losses_[static_cast<std::size_t>(node.begin)];
    }
    const auto left = loss({node.begin, detail::middle(node)}),
               right = loss({detail::middle(node), node.end});
    return left && right ? *left + *right : left ? left : right;
  }

  const DataParallelOptions& options_;
  State& state_;
  DataParallelStatistics& statistics_;
  detail::Transport* const transport_;  // null for one process
  const Batch& batch_;
  const std::int64_t rows_;
  const ShardRange own_;
  const bool averaged_;  // buffers are averaged, since more than one shard has rows
  std::vector<double> losses_;
  std::uint64_t key_ = 0;
  Tensors buffers_before_;

  Tensors targets_;  // per item
  std::size_t parameters_ = 0;
  std::unordered_map<const detail::Leaf*, std::size_t> leaves_;
  std::uint64_t layout_ = 0;
  std::vector<Node> nodes_;  // complete nodes from left to right, with no adjacent siblings

  Announcement announcement_;
  std::vector<Announcement> announcements_;
  detail::Transport::Request gather_ = 0;
  std::string disagreement_;
  bool started_ = false;
  detail::Exchange::Traffic traffic_before_;
};

DataParallel::DataParallel(Module& model, const Communicator& world, DataParallelOptions options)
    : world_(world), options_(options), state_(nullptr) {
  if (options_.shards < 1)
    throw ValueError(
        message("DataParallel: {}; there must be at least 1", detail::counted(options_.shards, "shard")));
  if (options_.bucket_bytes < 1024 || options_.bucket_bytes > 1 << 30)
    throw ValueError(
        message("DataParallel: bucket_bytes is {}; it must be from 1024 to 2^30", options_.bucket_bytes));
  if (world.size() > 1) detail::require_same_model(*world.transport(), model, options_.shards);
  if (world.size() > options_.shards && world.rank() == 0)
    detail::warn_once(
        "DataParallel: idle ranks",
        message("DataParallel: {} share {}, so that some do nothing; raise .shards",
                detail::counted(world.size(), "rank"), detail::counted(options_.shards, "shard")));
  state_ = new State{.parameters = model.parameters(), .buffers = model.buffers()};
}

DataParallel::~DataParallel() { delete state_; }

OwnShards own_shards(const Communicator& world, std::int64_t shards) noexcept {
  if (shards < 1) return {};
  const ShardRange own = detail::shards_of_rank(shards, world.size(), world.rank());
  return {shards, own.begin, own.end};
}

OwnShards DataParallel::own_shards() const noexcept { return retort::own_shards(world_, options_.shards); }

double DataParallel::backward(const Batch& batch, const std::function<Tensor(const Batch&)>& f) {
  return Step(*this, batch).run(f);
}

}  // namespace retort
