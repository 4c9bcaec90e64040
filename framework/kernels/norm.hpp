// Normalisation of rows (layer and RMS norm) and of channels (batch and group norm): y = (x -
// mean)·factor·weight + bias with factor = 1/sqrt(variance + eps), over sets of elements that share a mean
// and a variance. At most two passes over memory forward and two backward, one if a set fits into the cache;
// the gradients of weight and bias are summed in the pass that dx needs anyway. Chunks depend only on the
// sizes. Explicitly instantiated for float and double.
#pragma once

#include "retort/framework/kernels/axis.hpp"

namespace retort::kernels {

/// The statistics of one set: mean = high + low, where `low` is the part that does not fit into T, so that an
/// offset common to all elements has no effect. Kernels pass them as an array [4, sets]: high, low, factor,
/// biased variance.
inline constexpr Index norm_statistics = 4;

/// Rows [rows, n], each a set. weight and bias have shape [period, n]; row r uses their row r % period.
struct NormRows {
  Index rows = 1;
  Index n = 1;
  Index period = 1;
  bool centred = true;  ///< false: mean 0, and the mean square instead of the variance
  double eps = 0;
};
/// Number of doubles of workspace for norm_rows_backward.
Index norm_rows_workspace(const NormRows& layout);
/// Writes y and statistics [4, rows].
template <class T>
void norm_rows(const T* x, const T* weight, const T* bias, T* y, T* statistics, const NormRows& layout);
/// dx, d_weight and d_bias for the gradient g of y; each may be null.
template <class T>
void norm_rows_backward(const T* x, const T* weight, const T* statistics, const T* g, T* dx, T* d_weight,
                        T* d_bias, double* workspace, const NormRows& layout);

/// x [batch, channels, inner]; weight and bias have shape [channels]. With groups = 0, a set is a channel
/// over the whole batch; otherwise a set is channels / groups channels of one sample, and the sets are
/// [batch, groups].
struct NormChannels {
  Index batch = 1;
  Index channels = 1;
  Index inner = 1;
  Index groups = 0;
  double eps = 0;

  Index size() const { return batch * channels * inner; }
  Index sets() const { return groups == 0 ? channels : batch * groups; }
};
/// Number of doubles of workspace for the three functions below.
Index norm_channels_workspace(const NormChannels& layout);
/// Statistics [4, sets] of x.
template <class T>
void norm_channels_statistics(const T* x, T* statistics, double* workspace, const NormChannels& layout);
/// y for given statistics.
template <class T>
void norm_channels(const T* x, const T* weight, const T* bias, const T* statistics, T* y,
                   const NormChannels& layout);
/// norm_channels_statistics, then norm_channels.
template <class T>
void norm_channels_forward(const T* x, const T* weight, const T* bias, T* y, T* statistics, double* workspace,
                           const NormChannels& layout);
/// dx, d_weight and d_bias for the gradient g of y; each may be null. `fixed` statistics do not depend on x.
/// `means` [3, sets] is workspace.
template <class T>
void norm_channels_backward(const T* x, const T* weight, const T* statistics, const T* g, T* dx, T* d_weight,
                            T* d_bias, T* means, double* workspace, bool fixed, const NormChannels& layout);

}  // namespace retort::kernels
