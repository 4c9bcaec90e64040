#include "retort/framework/data/transforms.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "retort/framework/base/error.hpp"

namespace retort {
namespace {

struct ImageShape {
  std::int64_t count;
  std::int64_t planes;  // of one image
  std::int64_t rows;
  std::int64_t columns;
};

ImageShape image_shape(const Shape& shape) {
  if (shape.size() == 2) {
    const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(shape[1]))));
    if (side * side == shape[1]) return {shape[0], 1, side, side};
  }
  if (shape.size() < 3)
    throw ShapeError(
        message("random_shift: inputs of shape {} are no images; they must be [N, …, rows, columns] "
                "or square images [N, side·side]",
                shape));
  std::int64_t planes = 1;
  for (std::size_t d = 1; d + 2 < shape.size(); ++d) planes *= shape[d];
  return {shape[0], planes, shape[shape.size() - 2], shape[shape.size() - 1]};
}

// Writes one plane of bytes moved down and right; zero bytes are the number zero in every element type.
void shift_plane(const std::byte* from, std::byte* to, std::int64_t rows, std::int64_t row_bytes,
                 std::int64_t down, std::int64_t right_bytes) {
  const std::int64_t kept = std::max<std::int64_t>(row_bytes - std::abs(right_bytes), 0);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::byte* out = to + row * row_bytes;
    std::memset(out, 0, static_cast<std::size_t>(row_bytes));
    if (row - down < 0 || row - down >= rows || kept == 0) continue;
    const std::byte* in = from + (row - down) * row_bytes;
    std::memcpy(out + std::max<std::int64_t>(right_bytes, 0), in - std::min<std::int64_t>(right_bytes, 0),
                static_cast<std::size_t>(kept));
  }
}

}  // namespace

BatchTransform random_shift(std::int64_t pixels) {
  if (pixels < 0)
    throw ValueError(message("random_shift: {} pixels; the number must not be negative", pixels));
  return [pixels](const Batch& batch, Generator& generator) {
    const Array& images = batch.input.array();
    const ImageShape shape = image_shape(images.shape());
    Array moved(images.shape(), images.dtype());
    const auto element = static_cast<std::int64_t>(size_of(images.dtype()));
    const std::int64_t row_bytes = shape.columns * element;
    const auto* from = static_cast<const std::byte*>(images.read());
    auto* to = static_cast<std::byte*>(moved.write());
    const auto draw = [&] {
      return static_cast<std::int64_t>(generator.below(2 * static_cast<std::uint64_t>(pixels) + 1)) - pixels;
    };
    for (std::int64_t image = 0; image < shape.count; ++image) {
      const std::int64_t down = draw();
      // Further than its width an image is gone in any case.
      const std::int64_t right = std::clamp(draw(), -shape.columns, shape.columns);
      for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
        const std::int64_t offset = (image * shape.planes + plane) * shape.rows * row_bytes;
        shift_plane(from + offset, to + offset, shape.rows, row_bytes, down, right * element);
      }
    }
    return Batch{Tensor(std::move(moved)), batch.target};
  };
}

}  // namespace retort
