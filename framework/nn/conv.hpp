// Convolution and pooling as modules.
#pragma once

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/conv.hpp"

namespace [[RETORT_EXPORT]] retort {

struct Conv1dOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
};

/// conv1d with weight [out, in / groups, kernel size] and optional bias [out]. Both are drawn uniformly
/// within ±1/sqrt(in / groups · kernel size), as in PyTorch.
/// Throws: ValueError if a size or option is out of range.
class Conv1d : public Module {
 public:
  Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel_size, Conv1dOptions options = {});
  Tensor operator()(const Tensor& x) const { return output(conv1d(x, weight, bias, options_)); }

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)

 private:
  Conv1dFunctionalOptions options_;
};

struct Conv2dOptions {
  Size2d stride = 1;
  Size2d padding = 0;
  Size2d dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
};

/// conv2d with weight [out, in / groups, kernel height, kernel width] and optional bias [out]. Both are drawn
/// uniformly within ±1/sqrt(in / groups · kernel height · kernel width), as in PyTorch.
/// Throws: ValueError if a size or option is out of range.
class Conv2d : public Module {
 public:
  Conv2d(std::int64_t in, std::int64_t out, Size2d kernel_size, const Conv2dOptions& options = {});
  Tensor operator()(const Tensor& x) const { return output(conv2d(x, weight, bias, options_)); }

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)

 private:
  Conv2dFunctionalOptions options_;
};

struct ConvTranspose2dOptions {
  Size2d stride = 1;
  Size2d padding = 0;
  Size2d output_padding = 0;
  std::int64_t groups = 1;
  bool bias = true;
  Size2d dilation = 1;
};

/// conv_transpose2d with weight [in, out / groups, kernel height, kernel width] and optional bias [out]. Both
/// are drawn uniformly within ±1/sqrt(out / groups · kernel height · kernel width), as in PyTorch.
/// Throws: ValueError if a size or option is out of range.
class ConvTranspose2d : public Module {
 public:
  ConvTranspose2d(std::int64_t in, std::int64_t out, Size2d kernel_size,
                  const ConvTranspose2dOptions& options = {});
  Tensor operator()(const Tensor& x) const { return output(conv_transpose2d(x, weight, bias, options_)); }

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)

 private:
  ConvTranspose2dFunctionalOptions options_;
};

/// max_pool1d with fixed options. Throws: ValueError for options out of range.
class MaxPool1d : public Module {
 public:
  explicit MaxPool1d(const MaxPool1dOptions& options);
  explicit MaxPool1d(std::int64_t kernel_size) : MaxPool1d(MaxPool1dOptions{.kernel_size = kernel_size}) {}
  Tensor operator()(const Tensor& x) const { return output(max_pool1d(x, options_)); }

 private:
  MaxPool1dOptions options_;
};

/// avg_pool1d with fixed options. Throws: ValueError for options out of range.
class AvgPool1d : public Module {
 public:
  explicit AvgPool1d(const AvgPool1dOptions& options);
  explicit AvgPool1d(std::int64_t kernel_size) : AvgPool1d(AvgPool1dOptions{.kernel_size = kernel_size}) {}
  Tensor operator()(const Tensor& x) const { return output(avg_pool1d(x, options_)); }

 private:
  AvgPool1dOptions options_;
};

/// max_pool2d with fixed options. Throws: ValueError for options out of range.
class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const MaxPool2dOptions& options);
  explicit MaxPool2d(Size2d kernel_size) : MaxPool2d(MaxPool2dOptions{.kernel_size = kernel_size}) {}
  Tensor operator()(const Tensor& x) const { return output(max_pool2d(x, options_)); }

 private:
  MaxPool2dOptions options_;
};

/// avg_pool2d with fixed options. Throws: ValueError for options out of range.
class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(const AvgPool2dOptions& options);
  explicit AvgPool2d(Size2d kernel_size) : AvgPool2d(AvgPool2dOptions{.kernel_size = kernel_size}) {}
  Tensor operator()(const Tensor& x) const { return output(avg_pool2d(x, options_)); }

 private:
  AvgPool2dOptions options_;
};

/// adaptive_avg_pool2d with a fixed size. Throws: ValueError for a size below 1.
class AdaptiveAvgPool2d : public Module {
 public:
  explicit AdaptiveAvgPool2d(Size2d size);
  Tensor operator()(const Tensor& x) const { return output(adaptive_avg_pool2d(x, size_)); }

 private:
  Size2d size_;
};

/// adaptive_max_pool2d with a fixed size. Throws: ValueError for a size below 1.
class AdaptiveMaxPool2d : public Module {
 public:
  explicit AdaptiveMaxPool2d(Size2d size);
  Tensor operator()(const Tensor& x) const { return output(adaptive_max_pool2d(x, size_)); }

 private:
  Size2d size_;
};

}  // namespace retort
