#include "retort/framework/data/row_source.hpp"

#include <algorithm>
#include <cmath>
#include <typeinfo>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/data/dataset.hpp"

namespace retort {
namespace {

const Tensor* find(const Batch& batch, std::string_view name) {
  if (name == "input") return batch.input.defined() ? &batch.input : nullptr;
  if (name == "target") return batch.target.defined() ? &batch.target : nullptr;
  const auto found = std::ranges::find(batch.others, name, [](const auto& entry) { return entry.first; });
  return found == batch.others.end() ? nullptr : &found->second;
}

// Returns a copy of a source whose copies share their data; null for others. A derived class would be sliced.
const RowSource* cheap_copy(const RowSource& source) {
  if (typeid(source) == typeid(Dataset)) return new Dataset(static_cast<const Dataset&>(source));
  if (typeid(source) == typeid(RowSubset)) return new RowSubset(static_cast<const RowSubset&>(source));
  return nullptr;
}

}  // namespace

bool Batch::contains(std::string_view name) const { return find(*this, name) != nullptr; }

const Tensor& Batch::operator[](std::string_view name) const {
  if (const Tensor* found = find(*this, name)) return *found;
  std::string names;
  const auto list = [&names](std::string_view each) {
    names += names.empty() ? "" : ", ";
    names += each;
  };
  for (const char* own : {"input", "target"})
    if (contains(own)) list(own);
  for (const auto& [other, tensor] : others) list(other);
  throw IndexError(
      message("Batch: there is no tensor '{}'; its tensors are: {}", name, names.empty() ? "none" : names));
}

namespace detail {

SourceHandle::SourceHandle(const RowSource& source) : source_(&source) {
  if (const RowSource* copy = cheap_copy(source)) *this = SourceHandle(copy);
}

// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a + (b + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

Batch fetch_checked(std::string_view operation, const RowSource& source, std::span<const std::int64_t> rows) {
  Batch batch = source.fetch(rows);
  const auto fits = [&](const Tensor& x) {
    return !x.defined() || (x.dim() > 0 && x.size(0) == static_cast<std::int64_t>(rows.size()));
  };
  // A further tensor may also be a number.
  if (!fits(batch.input) || !fits(batch.target) || !std::ranges::all_of(batch.others, [&](const auto& other) {
        return fits(other.second) || other.second.dim() == 0;
      }))
    throw ShapeError(message("{}: fetch was asked for {} but returned {}", operation,
                             counted(rows.size(), "row"), shapes_of(batch)));
  return batch;
}

std::string shapes_of(const Batch& batch) {
  NamedTensors all{{"input", batch.input}, {"target", batch.target}};
  all.insert(all.end(), batch.others.begin(), batch.others.end());
  std::erase_if(all, [](const auto& entry) { return !entry.second.defined(); });
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i)
    text += message("{}'{}' of shape {}",
                    i == 0                ? ""
                    : i + 1 == all.size() ? " and "
                                          : ", ",
                    all[i].first, all[i].second.shape());
  return text;
}

}  // namespace detail

RowSubset::RowSubset(detail::SourceHandle source, const std::vector<std::int64_t>& rows)
    : source_(std::move(source)), rows_(tensor(rows)) {
  const std::int64_t size = source_->size();
  for (const std::int64_t row : rows)
    if (row < 0 || row >= size)
      throw IndexError(message("RowSubset: row {} of the source is out of range [0, {})", row, size));
}

Batch RowSubset::fetch(std::span<const std::int64_t> rows) const {
  const std::span<const std::int64_t> own = this->rows();
  std::vector<std::int64_t> chosen;
  chosen.reserve(rows.size());
  for (const std::int64_t row : rows) {
    if (row < 0 || row >= size())
      throw IndexError(message("RowSubset: row {} is out of range [0, {})", row, size()));
    chosen.push_back(own[static_cast<std::size_t>(row)]);
  }
  return source_->fetch(chosen);
}

std::vector<RowSubset> split(const detail::SourceHandle& source, const std::vector<double>& fractions,
                             std::uint64_t seed) {
  const std::int64_t rows = source->size();
  double sum = 0;
  std::vector<std::int64_t> counts;
  std::int64_t left = rows;
  for (const double fraction : fractions) {
    if (!(fraction >= 0 && fraction <= 1))
      throw ValueError(message("split: fraction {} is outside [0, 1]", fraction));
    sum += fraction;
    // A value one ulp below an integer, such as 0.29 · 100, counts as that integer.
    counts.push_back(
        std::min(left, static_cast<std::int64_t>(fraction * static_cast<double>(rows) * (1 + 1e-12))));
    left -= counts.back();
  }
  if (!(std::abs(sum - 1) < 1e-6))
    throw ValueError(message("split: the fractions sum to {}; they must sum to 1", sum));
  for (std::size_t i = 0; left > 0; i = (i + 1) % counts.size()) {
    if (fractions[i] == 0) continue;
    ++counts[i];
    --left;
  }

  Generator generator(detail::mix(seed, 0));
  const std::vector<std::int64_t> order = random_permutation(rows, generator);
  std::vector<RowSubset> parts;
  auto begin = order.begin();
  for (const std::int64_t count : counts) {
    std::vector<std::int64_t> own(begin, begin + count);
    std::ranges::sort(own);
    parts.emplace_back(source, own);
    begin += count;
  }
  return parts;
}

}  // namespace retort
