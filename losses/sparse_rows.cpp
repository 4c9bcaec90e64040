#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/losses/distillation_loss.hpp"
#include "retort/losses/rows_impl.hpp"
#include "retort/losses/sparse_rows_impl.hpp"

namespace retort::detail {
namespace {
constexpr double infinity = std::numeric_limits<double>::infinity();
}

void check_sparse_tensors(const char* operation, const SparseTeacher& teacher) {
  for (const auto& [name, given] : {std::pair<const char*, const Tensor&>(".indices", teacher.indices),
                                    {".log_probs", teacher.log_probs},
                                    {".log_tail", teacher.log_tail}})
    if (!given.defined()) throw ValueError(message("{}: the teacher's {} is missing", operation, name));
  require_positive(operation, "the teacher's temperature", teacher.temperature);
  require_floating(operation, "the teacher's .log_probs", teacher.log_probs);
  require_floating(operation, "the teacher's .log_tail", teacher.log_tail);
  require_int64(operation, "teacher's .indices", teacher.indices);
}

void check_sparse_teacher(const char* operation, const SparseTeacher& teacher, const Shape& logits) {
  check_sparse_tensors(operation, teacher);
  if (teacher.classes == 0 && !logits.empty() && logits.back() != 0)
    throw ValueError(message("{}: the teacher's .classes is missing", operation));
  if (logits.empty() || logits.back() != teacher.classes)
    throw ShapeError(message("{}: student has shape {} but the teacher has {}; expected (..., {})", operation,
                             logits, detail::counted(teacher.classes, "class"), teacher.classes));
  const Shape rows = row_shape(logits, logits.size() - 1);
  Shape kept = rows;
  kept.push_back(teacher.indices.dim() > 0 ? teacher.indices.size(-1) : 0);
  if (teacher.indices.shape() != kept || teacher.log_probs.shape() != kept ||
      teacher.log_tail.shape() != rows)
    throw ShapeError(message(
        "{}: the student has rows {}, but the teacher has indices {}, log_probs {} and log_tail {}",
        operation, rows, teacher.indices.shape(), teacher.log_probs.shape(), teacher.log_tail.shape()));
}

SparseTeacher prepare_sparse_teacher(const char* operation, const SparseTeacher& teacher, Index count,
                                     DType dtype, const Tensor& mask) {
  const Index kept = teacher.indices.size(-1);
  const Tensor given = reshape(teacher.indices, {count, kept});
  const Tensor given_log_probs = reshape(teacher.log_probs.detach().to(dtype), {count, kept});
  const Tensor indices = empty({count, kept}, DType::int64), log_probs = empty({count, kept}, dtype);
  const Index* const in = elements<Index>(mask);
  compute_into(
      dtype,
      [&](auto* to, const auto* from) {
        Index* const sorted = elements<Index>(writable(indices));
        const Index* const row = elements<Index>(given);
        parallel_for(count, std::max<Index>(1, 4096 / std::max<Index>(1, kept)), [&](Index begin, Index end) {
          // Classes with their positions.
          std::vector<std::pair<Index, Index>> order(static_cast<std::size_t>(kept));
          for (Index i = begin; i < end; ++i) {
            const Index first = i * kept;
            const bool counts = in == nullptr || in[i] != 0;
            for (Index k = 0; k < kept; ++k)
              order[static_cast<std::size_t>(k)] = {counts ? row[first + k] : k, first + k};
            std::sort(order.begin(), order.end());
            for (Index k = 0; k < kept; ++k) {
              const auto& [c, at] = order[static_cast<std::size_t>(k)];
              sorted[first + k] = c;
              to[first + k] = 0;
              if (counts) to[first + k] = from[at];
            }
          }
        });
        for (Index i = 0; i < count; ++i)
          for (Index at = i * kept, end = at + kept; at < end; ++at) {
            const Index c = sorted[at];
            if (c < 0 || c >= teacher.classes)
              throw IndexError(message("{}: the teacher's class {} in row {} is out of range [0, {})",
                                       operation, c, i, teacher.classes));
            if (at > i * kept && c == sorted[at - 1])
              throw ValueError(message("{}: the teacher names class {} twice in row {}", operation, c, i));
            if (to[at] == infinity)
              throw ValueError(
                  message("{}: the teacher's log-probability of class {} in row {} is {}; it must "
                          "be below infinity",
                          operation, c, i, double{to[at]}));
          }
      },
      writable(log_probs), given_log_probs);
  const Tensor log_tail = reshape(teacher.log_tail.detach().to(dtype), {count});
  compute_into(
      dtype,
      [&](const auto* tail) {
        for (Index i = 0; i < count; ++i)
          if ((in == nullptr || in[i] != 0) && tail[i] == infinity)
            throw ValueError(message("{}: the teacher's log_tail in row {} is {}; it must be below infinity",
                                     operation, i, double{tail[i]}));
      },
      log_tail);
  return {indices, log_probs, log_tail, teacher.classes, teacher.temperature};
}

}  // namespace retort::detail
