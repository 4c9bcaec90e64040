// The parts of a convolution that read no padding.
#include <algorithm>
#include <limits>
#include <utility>

#include "retort/framework/base/error.hpp"
#include "retort/framework/kernels/conv_gathered_impl.hpp"

namespace retort::kernels {
namespace {

struct Range {
  Index begin, end;
  Index size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};
/// Adjacent positions and taps of a line: those of the rows of a part, and of its steps.
struct Span {
  Range rows, steps;
};

/// Divides rows into spans whose rows have the same steps for which reads(row, step). These are adjacent.
template <class Reads>
std::vector<Span> divided(Range rows, Range steps, Reads reads) {
  std::vector<Span> spans;
  for (Index row = rows.begin; row < rows.end; ++row) {
    Range found = steps;
    while (found.begin < found.end && !reads(row, found.begin)) ++found.begin;
    while (found.begin < found.end && !reads(row, found.end - 1)) --found.end;
    if (spans.empty() || spans.back().steps != found) spans.push_back({{row, row}, found});
    ++spans.back().rows.end;
  }
  return spans;
}

/// The spans of positions of a line and all of its taps: one, or with `skips` those that read no padding.
std::vector<Span> spans_of(const Line& line, Range positions, bool by_taps, bool skips) {
  const Range taps{0, static_cast<Index>(line.offsets.size())};
  const auto reads = [&](Index position, Index tap) {
    const Index at = position * line.stride + line.offsets[static_cast<std::size_t>(tap)] - line.padding;
    return at >= 0 && at < line.source;
  };
  if (!skips) return {by_taps ? Span{taps, positions} : Span{positions, taps}};
  if (!by_taps) return divided(positions, taps, reads);
  return divided(taps, positions, [&](Index tap, Index position) { return reads(position, tap); });
}

/// The time of a product, in multiplications of registers.
double cost(Index rows, Index steps, Index registers) {
  constexpr Index in_flight = 8;  // fewer sums do not hide their latency
  const Index tiles = divide_up(rows, gathered_rows(registers)), sums = rows * registers;
  const Index start = std::max<Index>(1, divide_up(steps, gathered_depth)) * (100 * tiles + 4 * sums);
  return static_cast<double>(steps * std::max(sums, in_flight * tiles) + start);
}

/// The places of a box in a list [outer][lines][columns].
std::vector<Place> box(const std::vector<Index>& list, Index outer, Index lines, Index columns, Range h,
                       Range w) {
  if (list.back() > std::numeric_limits<std::uint32_t>::max())
    throw ShapeError("convolution: an image has more than 2^32 elements; divide it");
  std::vector<Place> places;
  places.reserve(static_cast<std::size_t>(outer * h.size() * w.size()));
  for (Index i = 0; i < outer; ++i)
    for (Index y = h.begin; y < h.end; ++y)
      for (Index x = w.begin; x < w.end; ++x) {
        const Index number = (i * lines + y) * columns + x;
        places.push_back({static_cast<std::uint32_t>(list[static_cast<std::size_t>(number)]),
                          static_cast<std::uint32_t>(number)});
      }
  return places;
}

/// The spans of lines and of columns that take the least time: without the padding above and below, that to
/// the left and right, both or neither. Each has `rows` rows and `steps` steps per line and column.
std::pair<std::vector<Span>, std::vector<Span>> cheapest_spans(const Correlation& c, Range lines,
                                                               bool by_taps, Index rows, Index steps,
                                                               Index registers) {
  std::pair<std::vector<Span>, std::vector<Span>> cheapest;
  double least = std::numeric_limits<double>::infinity();
  for (const bool skips_h : {false, true})
    for (const bool skips_w : {false, true}) {
      const auto h = spans_of(c.h, lines, by_taps, skips_h),
                 w = spans_of(c.w, {0, c.w.positions}, by_taps, skips_w);
      double sum = 0;
      for (const Span& y : h)
        for (const Span& x : w)
          sum +=
              cost(rows * y.rows.size() * x.rows.size(), steps * y.steps.size() * x.steps.size(), registers);
      if (sum < least) cheapest = {h, w}, least = sum;
    }
  return cheapest;
}

}  // namespace

std::vector<Part> parts_of(const Correlation& c, const Source& source, Index images, Index top, Index end,
                           Index channels, bool by_taps, Index deepest, Index registers) {
  const auto [h, w] = cheapest_spans(c, {top, end}, by_taps, by_taps ? channels : images,
                                     by_taps ? images : channels, registers);
  const std::vector<Index> places = source.places(c, images, end - top),
                           offsets = source.offsets(c, channels);
  const auto steps = static_cast<Index>(by_taps ? places.size() : offsets.size());
  std::vector<Part> parts;
  for (const Span& y : h)
    for (const Span& x : w) {
      const auto positions = [&](Range lines, Range columns) {
        return box(places, images, end - top, c.w.positions, {lines.begin - top, lines.end - top}, columns);
      };
      const auto taps = [&](Range lines, Range columns) {
        return box(offsets, channels, static_cast<Index>(c.h.offsets.size()),
                   static_cast<Index>(c.w.offsets.size()), lines, columns);
      };
      Part part{by_taps ? taps(y.rows, x.rows) : positions(y.rows, x.rows),
                by_taps ? positions(y.steps, x.steps) : taps(y.steps, x.steps),
                {}};
      for (Index first = 0; first < steps + deepest; first += deepest)
        part.blocks.push_back(std::ranges::lower_bound(part.steps, first, {}, &Place::number) -
                              part.steps.begin());
      parts.push_back(std::move(part));
    }
  return parts;
}

}  // namespace retort::kernels
