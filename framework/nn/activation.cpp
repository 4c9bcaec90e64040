#include "retort/framework/nn/activation.hpp"

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/ops/dropout.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {

Tensor Softmax::operator()(const Tensor& x) const { return output(softmax(x, dim_)); }
Tensor LogSoftmax::operator()(const Tensor& x) const { return output(log_softmax(x, dim_)); }

LeakyReLU::LeakyReLU(double slope) : ScaledActivation(slope) {
  detail::require_finite("LeakyReLU", "slope", slope);
}
PReLU::PReLU(std::int64_t num_parameters, PReLUOptions options) {
  detail::require_option(num_parameters >= 1, "PReLU", "num_parameters", num_parameters, "at least 1");
  detail::require_finite("PReLU", "init", options.init);
  detail::require_shape("PReLU", {num_parameters});
  weight = full({num_parameters}, options.init).set_requires_grad();
}
ELU::ELU(double alpha) : ScaledActivation(alpha) { detail::require_finite("ELU", "alpha", alpha); }
Softplus::Softplus(SoftplusOptions options) : options_(options) {
  detail::require_positive("Softplus", "beta", options.beta);
  detail::require_option(!std::isnan(options.threshold), "Softplus", "threshold", options.threshold,
                         "a number");
}

Dropout::Dropout(double p) : p_(p) { detail::require_from_0_to_1("Dropout", "p", p); }
Tensor Dropout::operator()(const Tensor& x) const { return output(dropout(x, p_, is_training())); }

Tensor Flatten::operator()(const Tensor& x) const { return output(flatten(x, start_dim_, end_dim_)); }

}  // namespace retort
