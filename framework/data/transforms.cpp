#include "retort/framework/data/transforms.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/draws.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
namespace {

struct ImageShape {
  std::int64_t count;
  std::int64_t planes;  // per image
  std::int64_t rows;
  std::int64_t columns;
};

ImageShape image_shape(std::string_view name, const Shape& shape) {
  if (shape.size() == 2) {
    const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(shape[1]))));
    if (side * side == shape[1]) return {shape[0], 1, side, side};
  }
  if (shape.size() < 3)
    throw ShapeError(
        message("{}: inputs of shape {} are not images; they must be [N, …, rows, columns] "
                "or square images in rows [N, side·side]",
                name, shape));
  std::int64_t planes = 1;
  for (std::size_t d = 1; d + 2 < shape.size(); ++d) planes *= shape[d];
  return {shape[0], planes, shape[shape.size() - 2], shape[shape.size() - 1]};
}

// The number of a batch's inputs.
std::int64_t count_of(const char* name, const Batch& batch) {
  detail::require_defined(name, "the batch's input", batch.input);
  if (batch.input.dim() == 0)
    throw ShapeError(message("{}: inputs have shape (); they must be [N, …]", name));
  return batch.input.size(0);
}

// Generators for the rows of a batch, by row number.
class RowDraws {
 public:
  enum class Salt : std::uint64_t { crop = 1, flip, cutout, mixup, order };

  RowDraws(const Batch& batch, std::int64_t count, Generator& generator) : batch_(batch) {
    numbered_ = static_cast<std::int64_t>(batch.rows.size()) == count && count > 0;
    key_ = numbered_ ? batch.key : generator.below(std::uint64_t{1} << 63);
  }
  std::uint64_t seed(std::int64_t i, Salt salt) const {
    const std::int64_t row = numbered_ ? batch_.rows[static_cast<std::size_t>(i)] : i;
    return detail::mix(detail::mix(key_, static_cast<std::uint64_t>(salt)), static_cast<std::uint64_t>(row));
  }
  Generator operator()(std::int64_t i, Salt salt) const { return Generator(seed(i, salt)); }

 private:
  const Batch& batch_;
  bool numbered_ = false;
  std::uint64_t key_ = 0;
};

// Writes one plane of bytes shifted down and right; zero bytes represent 0 in every element type.
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

// Calls change(pixels of the plane, shape of the images, bytes per pixel, number of the image) for a copy of
// each plane.
template <class Draw, class Change>
Batch change_images(const char* name, Batch batch, Draw draw, Change change) {
  const Array& images = detail::Access::array(batch.input);
  const ImageShape shape = image_shape(name, images.shape());
  Array changed(images.shape(), images.dtype());
  const auto element = static_cast<std::int64_t>(size_of(images.dtype()));
  const std::int64_t plane_bytes = shape.rows * shape.columns * element;
  const auto* from = static_cast<const std::byte*>(images.read());
  auto* to = static_cast<std::byte*>(changed.write());
  for (std::int64_t image = 0; image < shape.count; ++image) {
    const auto drawn = draw(image, shape);
    for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
      const std::int64_t offset = (image * shape.planes + plane) * plane_bytes;
      change(from + offset, to + offset, shape, element, drawn);
    }
  }
  batch.input = detail::Access::make(std::move(changed));
  return batch;
}

struct Place {
  std::int64_t row;
  std::int64_t column;
};

// A shift of at most `most` in each direction. A shift beyond its extent removes the whole image anyway.
Place draw_move(std::int64_t most, const ImageShape& shape, Generator& generator) {
  const auto draw = [&] {
    return static_cast<std::int64_t>(generator.below(2 * static_cast<std::uint64_t>(most) + 1)) - most;
  };
  const std::int64_t down = draw();
  return {down, std::clamp(draw(), -shape.columns, shape.columns)};
}

void move_plane(const std::byte* from, std::byte* to, const ImageShape& shape, std::int64_t element,
                const Place& move) {
  shift_plane(from, to, shape.rows, shape.columns * element, move.row, move.column * element);
}

double draw_normal(Generator& generator) {
  constexpr double two_pi = 6.283185307179586;
  const double radius = std::sqrt(-2 * std::log1p(-generator.uniform()));
  return radius * std::cos(two_pi * generator.uniform());
}

// Marsaglia and Tsang 2000, "A simple method for generating gamma variables", for alpha > 1.
double draw_gamma(double alpha, Generator& generator) {
  const double d = alpha - 1.0 / 3;
  for (;;) {
    const double x = draw_normal(generator);
    const double v = std::pow(1 + x / std::sqrt(9 * d), 3);
    if (v > 0 && std::log1p(-generator.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

// Draws from Beta(alpha, alpha), by Jöhnk's method if alpha is at most 1.
double draw_beta(double alpha, Generator& generator) {
  if (alpha == 0) return 1;
  alpha = std::max(alpha, 1e-300);  // keeps the logarithms below finite
  if (alpha > 1) {
    const double x = draw_gamma(alpha, generator);
    return x / (x + draw_gamma(alpha, generator));
  }
  for (;;) {
    const double log_x = std::log1p(-generator.uniform()) / alpha;
    const double log_y = std::log1p(-generator.uniform()) / alpha;
    const double largest = std::max(log_x, log_y);
    const double log_sum = largest + std::log(std::exp(log_x - largest) + std::exp(log_y - largest));
    if (log_sum <= 0) return std::exp(log_x - log_sum);
  }
}

// λ x_i + (1 - λ) x_j for the rows i of x.
Tensor mix_rows(const Tensor& x, const std::vector<double>& lambda, const std::vector<std::int64_t>& other) {
  Array mixed(x.shape(), x.dtype());
  const std::size_t row = lambda.empty() ? 0 : static_cast<std::size_t>(x.size()) / lambda.size();
  visit_floating(x.dtype(), [&]<class T>(T) {
    const std::span<const T> in = x.data<T>();
    const std::span<T> out = mixed.fill<T>();
    for (std::size_t i = 0; i < lambda.size(); ++i) {
      const auto a = static_cast<T>(lambda[i]);
      const auto b = static_cast<T>(1 - lambda[i]);
      const T* own = in.data() + i * row;
      const T* with = in.data() + static_cast<std::size_t>(other[i]) * row;
      for (std::size_t k = 0; k < row; ++k) out[i * row + k] = a * own[k] + b * with[k];
    }
  });
  return detail::Access::make(std::move(mixed));
}

}  // namespace

BatchTransform random_shift(std::int64_t pixels) {
  if (pixels < 0)
    throw ValueError(
        message("random_shift: {}; the number must not be negative", detail::counted(pixels, "pixel")));
  return [pixels](Batch batch, Generator& generator) {
    const auto draw = [&](std::int64_t, const ImageShape& shape) {
      return draw_move(pixels, shape, generator);
    };
    return change_images("random_shift", std::move(batch), draw, move_plane);
  };
}

BatchTransform random_crop(std::int64_t padding) {
  if (padding < 0) throw ValueError(message("random_crop: padding is {}; it must not be negative", padding));
  return [padding](const Batch& batch, Generator& generator) {
    const RowDraws draws(batch, count_of("random_crop", batch), generator);
    const auto draw = [&](std::int64_t image, const ImageShape& shape) {
      Generator own = draws(image, RowDraws::Salt::crop);
      return draw_move(padding, shape, own);
    };
    return change_images("random_crop", batch, draw, move_plane);
  };
}

BatchTransform random_horizontal_flip(double p) {
  if (!(p >= 0 && p <= 1))
    throw ValueError(message("random_horizontal_flip: p is {}; it must be in [0, 1]", p));
  return [p](const Batch& batch, Generator& generator) {
    const RowDraws draws(batch, count_of("random_horizontal_flip", batch), generator);
    const auto draw = [&](std::int64_t image, const ImageShape&) {
      return draws(image, RowDraws::Salt::flip).uniform() < p;
    };
    return change_images("random_horizontal_flip", batch, draw,
                         [](const std::byte* from, std::byte* to, const ImageShape& shape,
                            std::int64_t element, bool flipped) {
                           const std::int64_t row_bytes = shape.columns * element;
                           if (!flipped) {
                             std::copy_n(from, shape.rows * row_bytes, to);
                             return;
                           }
                           for (std::int64_t row = 0; row < shape.rows; ++row)
                             for (std::int64_t column = 0; column < shape.columns; ++column)
                               std::memcpy(to + row * row_bytes + column * element,
                                           from + (row + 1) * row_bytes - (column + 1) * element,
                                           static_cast<std::size_t>(element));
                         });
  };
}

BatchTransform cutout(std::int64_t size) {
  if (size < 0) throw ValueError(message("cutout: size is {}; it must not be negative", size));
  return [size](const Batch& batch, Generator& generator) {
    const RowDraws draws(batch, count_of("cutout", batch), generator);
    const auto draw = [&](std::int64_t image, const ImageShape& shape) {
      if (shape.rows == 0 || shape.columns == 0) return Place{0, 0};
      Generator own = draws(image, RowDraws::Salt::cutout);
      const auto row = static_cast<std::int64_t>(own.below(static_cast<std::uint64_t>(shape.rows)));
      const auto column = static_cast<std::int64_t>(own.below(static_cast<std::uint64_t>(shape.columns)));
      return Place{row - size / 2, column - size / 2};
    };
    return change_images("cutout", batch, draw,
                         [size](const std::byte* from, std::byte* to, const ImageShape& shape,
                                std::int64_t element, const Place& corner) {
                           std::copy_n(from, shape.rows * shape.columns * element, to);
                           const auto end = [size](std::int64_t begin, std::int64_t extent) {
                             return begin + std::min(size, extent - begin);
                           };
                           const std::int64_t left = std::max<std::int64_t>(corner.column, 0);
                           const std::int64_t width = end(corner.column, shape.columns) - left;
                           if (width <= 0) return;
                           for (std::int64_t row = std::max<std::int64_t>(corner.row, 0);
                                row < end(corner.row, shape.rows); ++row)
                             std::memset(to + (row * shape.columns + left) * element, 0,
                                         static_cast<std::size_t>(width * element));
                         });
  };
}

BatchTransform normalize(std::vector<double> mean, std::vector<double> std) {
  if (mean.empty() || mean.size() != std.size())
    throw ValueError(message(
        "normalize: {} and {} standard deviations are given; their numbers must be equal and at least 1",
        detail::counted(mean.size(), "mean"), std.size()));
  for (const double each : mean) detail::require_finite("normalize", "a mean", each);
  for (const double each : std)
    if (!(each > 0)) throw ValueError(message("normalize: standard deviation {} is not above 0", each));
  return [mean = std::move(mean), std = std::move(std)](Batch batch, Generator&) {
    const Tensor& x = batch.input;
    detail::require_defined("normalize", "the batch's input", x);
    const auto channels = static_cast<std::int64_t>(mean.size());
    if (channels > 1 && (x.dim() < 2 || x.size(1) != channels))
      throw ShapeError(
          message("normalize: {} means are given, but inputs have shape {}; dimension 1 holds "
                  "the channels",
                  channels, x.shape()));
    if (!is_floating_point(x.dtype()))
      throw TypeError("normalize: inputs are int64; they must be floating-point numbers");
    const std::int64_t run =
        channels == 1 ? x.size() : x.size() / std::max<std::int64_t>(x.size(0) * channels, 1);
    Array changed(x.shape(), x.dtype());
    visit_floating(x.dtype(), [&]<class T>(T) {
      const std::span<const T> in = x.data<T>();
      const std::span<T> out = changed.fill<T>();
      for (std::size_t i = 0; i < in.size();) {
        const std::size_t channel = i / static_cast<std::size_t>(run) % mean.size();
        const auto shift = static_cast<T>(mean[channel]);
        const auto scale = static_cast<T>(std[channel]);
        for (const std::size_t end = i + static_cast<std::size_t>(run); i < end; ++i)
          out[i] = (in[i] - shift) / scale;
      }
    });
    batch.input = detail::Access::make(std::move(changed));
    return batch;
  };
}

BatchTransform normalize(double mean, double std) { return normalize(std::vector{mean}, std::vector{std}); }

BatchTransform detail::compose_all(std::vector<BatchTransform> transforms) {
  return [transforms = std::move(transforms)](Batch batch, Generator& generator) {
    // A transform may have created a new batch without these.
    const std::vector<std::int64_t> rows = batch.rows;
    const std::uint64_t key = batch.key;
    for (std::size_t i = 0; i < transforms.size(); ++i) {
      batch.rows = rows;
      batch.key = mix(key, i);
      batch = transforms[i](std::move(batch), generator);
    }
    batch.rows = rows;
    batch.key = key;
    return batch;
  };
}

Batch mixup(const Batch& batch, double alpha) {
  if (!(alpha >= 0) || std::isinf(alpha))
    throw ValueError(message("mixup: alpha is {}; it must be finite and at least 0", alpha));
  (void)count_of("mixup", batch);
  if (!is_floating_point(batch.input.dtype()))
    throw TypeError("mixup: inputs are int64; they must be floating-point numbers");
  const std::int64_t count = batch.input.size(0);
  Generator generator =
      detail::take_from_default(static_cast<std::int64_t>(batch.rows.size()) == count ? 0 : 2);
  const RowDraws draws(batch, count, generator);
  std::vector<double> lambda;
  std::vector<std::pair<std::uint64_t, std::int64_t>> circle;
  for (std::int64_t i = 0; i < count; ++i) {
    Generator own = draws(i, RowDraws::Salt::mixup);
    lambda.push_back(draw_beta(alpha, own));
    circle.emplace_back(draws.seed(i, RowDraws::Salt::order), i);
  }
  std::ranges::sort(circle);
  std::vector<std::int64_t> other(lambda.size());
  for (std::size_t i = 0; i < circle.size(); ++i)
    other[static_cast<std::size_t>(circle[i].second)] = circle[(i + 1) % circle.size()].second;

  Batch mixed = batch;
  mixed.input = mix_rows(batch.input, lambda, other);
  if (!batch.target.defined()) return mixed;
  if (is_floating_point(batch.target.dtype())) {
    mixed.target = mix_rows(batch.target, lambda, other);
  } else {
    mixed.others.emplace_back("target_b", Dataset(batch.target, batch.target).rows(other).target);
    mixed.others.emplace_back("lambda", tensor(lambda).to(batch.input.dtype()));
  }
  return mixed;
}

}  // namespace retort
