#include <algorithm>
#include <numeric>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/data/row_source.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

std::vector<std::int64_t> range(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

}  // namespace

Batch fetch_all(const RowSource& source) {
  return detail::fetch_checked("fetch_all", source, range(0, source.size()));
}

Tensor fetch_all(const RowSource& source, std::string_view name) {
  constexpr std::int64_t part = 1024;
  const NoGradGuard guard;
  Tensors parts;
  const std::int64_t size = source.size();
  for (std::int64_t begin = 0; begin == 0 || begin < size; begin += part)
    parts.push_back(
        detail::fetch_checked("fetch_all", source, range(begin, std::min(begin + part, size)))[name]);
  return parts.size() == 1 ? parts.front() : concat(parts, 0);
}

}  // namespace retort
