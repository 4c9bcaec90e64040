#include "retort/framework/fused.hpp"

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/kernels/broadcast.hpp"
#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::detail {
namespace {

constexpr int most_inputs = 7, most_outputs = 6;
constexpr Index multiple = 16;  // elements per block are a multiple of this, the widest register
constexpr Index room = 512;     // number of broadcast elements expanded at a time
constexpr Index grain = 16384;  // elements per thread and chunk

using Plan = kernels::Broadcast<most_inputs>;

template <class T>
class Run {
 public:
  Run(const Shape& shape, std::span<const Tensor> in, std::span<const Tensor> out, FusedBlock run,
      const void* f)
      : plan_(shapes_of(in, shape), shape),
        inputs_(static_cast<int>(in.size())),
        outputs_(static_cast<int>(out.size())),
        run_(run),
        f_(f) {
    for (int k = 0; k < inputs_; ++k) {
      in_[k] = in[k].data<T>().data();
      whole_[k] = plan_.whole(k);
      all_whole_ = all_whole_ && whole_[k];
    }
    for (int k = 0; k < outputs_; ++k) out_[k] = out[k].defined() ? out[k].mutable_data<T>().data() : nullptr;
    far_ = plan_.size * static_cast<Index>(sizeof(T)) >= kernels::streamed_bytes;
  }

  void operator()() const {
    parallel_for(plan_.size, grain, [this](Index begin, Index end) {
      part(begin, end);
      if (far_) kernels::finish_stores();
    });
  }

 private:
  static std::array<const Shape*, most_inputs> shapes_of(std::span<const Tensor> in, const Shape& shape) {
    std::array<const Shape*, most_inputs> shapes;
    shapes.fill(&shape);
    for (std::size_t k = 0; k < in.size(); ++k) shapes[k] = &in[k].shape();
    return shapes;
  }

  // Computes elements begin … end-1 of the result.
  void part(Index begin, Index end) const {
    std::array<const T*, most_inputs> from{};
    if (all_whole_) {
      const Index step = far_ ? room : end - begin;
      for (Index at = begin; at < end; at += step) {
        for (int k = 0; k < inputs_; ++k) from[k] = in_[k] + at;
        block(from, at, std::min(step, end - at));
      }
      return;
    }
    alignas(64) T rows[most_inputs][room];
    const Index n = plan_.row_length();
    kernels::RowWalk<most_inputs> walk(plan_, begin / n);
    Index column = begin % n;
    for (Index at = begin; at < end; at += room) {
      const Index count = std::min(room, end - at);
      for (Index done = 0; done < count;) {
        const Index piece = std::min(count - done, n - column);
        for (int k = 0; k < inputs_; ++k) {
          if (whole_[k]) continue;
          const T* x = in_[k] + walk.at[k];
          if (plan_.step(k) == 0)
            std::fill_n(rows[k] + done, piece, *x);
          else
            std::copy_n(x + column, piece, rows[k] + done);
        }
        done += piece;
        column += piece;
        if (column == n) {
          column = 0;
          walk.next();
        }
      }
      for (int k = 0; k < inputs_; ++k) from[k] = whole_[k] ? in_[k] + at : rows[k];
      block(from, at, count);
    }
  }

  // Computes `count` elements from `from` to the outputs at `at`; the remainder of a block goes through a
  // padded copy.
  void block(const std::array<const T*, most_inputs>& from, Index at, Index count) const {
    const Index even = count / multiple * multiple, rest = count - even;
    std::array<const void*, most_inputs> in{};
    std::array<void*, most_outputs> out{};
    for (int k = 0; k < inputs_; ++k) in[k] = from[k];
    if (far_ && count == room) return past_cache(in, at);
    for (int k = 0; k < outputs_; ++k) out[k] = out_[k] ? out_[k] + at : nullptr;
    if (even > 0) run_(f_, in.data(), out.data(), even);
    if (rest == 0) return;
    alignas(64) T padded[most_inputs][multiple], results[most_outputs][multiple];
    for (int k = 0; k < inputs_; ++k) {
      for (Index i = 0; i < multiple; ++i) padded[k][i] = i < rest ? from[k][even + i] : T{1};
      in[k] = padded[k];
    }
    for (int k = 0; k < outputs_; ++k) out[k] = out_[k] ? results[k] : nullptr;
    run_(f_, in.data(), out.data(), multiple);
    for (int k = 0; k < outputs_; ++k)
      for (Index i = 0; out_[k] && i < rest; ++i) out_[k][at + even + i] = results[k][i];
  }

  // Computes `room` elements with stores that bypass the cache, for results that would be evicted before use.
  void past_cache(const std::array<const void*, most_inputs>& in, Index at) const {
    alignas(64) T results[most_outputs][room];
    std::array<void*, most_outputs> out{};
    for (int k = 0; k < outputs_; ++k) out[k] = out_[k] ? results[k] : nullptr;
    for (int k = 0; k < inputs_; ++k)
      if (whole_[k])
        for (Index i = 0; i < room; i += 64 / static_cast<Index>(sizeof(T)))
          kernels::prefetch(static_cast<const T*>(in[k]) + i + kernels::ahead);
    run_(f_, in.data(), out.data(), room);
    for (int k = 0; k < outputs_; ++k) {
      if (out_[k] == nullptr) continue;
      T* const to = out_[k] + at;
      if (!kernels::is_aligned(to)) {
        std::copy_n(results[k], room, to);
        continue;
      }
      for (Index i = 0; i < room; i += kernels::lanes<T>)
        kernels::store_past_cache<T>(to + i, kernels::load(results[k] + i));
    }
  }

  Plan plan_;
  int inputs_, outputs_;
  FusedBlock run_;
  const void* f_;
  std::array<const T*, most_inputs> in_{};
  std::array<T*, most_outputs> out_{};
  std::array<bool, most_inputs> whole_{};
  bool all_whole_ = true, far_ = false;
};

}  // namespace

void run_fused(const Shape& shape, DType dtype, std::span<const Tensor> in, std::span<const Tensor> out,
               FusedBlock block, const void* f) {
  visit_floating(dtype, [&]<class T>(T) { Run<T>(shape, in, out, block, f)(); });
}

Shape fused_shape(const char* name, std::span<const Tensor> in) {
  for (const Tensor& x : in) require_defined(name, x);
  Shape shape = in[0].shape();
  for (const Tensor& x : in.subspan(1)) shape = broadcast_shapes(name, shape, x.shape());
  return shape;
}

}  // namespace retort::detail
