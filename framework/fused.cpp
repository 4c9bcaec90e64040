#include "retort/framework/fused.hpp"

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/kernels/broadcast.hpp"

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
  }

  void operator()() const {
    parallel_for(plan_.size, grain, [this](Index begin, Index end) { part(begin, end); });
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
      for (int k = 0; k < inputs_; ++k) from[k] = in_[k] + begin;
      return block(from, begin, end - begin);
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

  Plan plan_;
  int inputs_, outputs_;
  FusedBlock run_;
  const void* f_;
  std::array<const T*, most_inputs> in_{};
  std::array<T*, most_outputs> out_{};
  std::array<bool, most_inputs> whole_{};
  bool all_whole_ = true;
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
