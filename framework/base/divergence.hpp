// The divergences between a student and its teacher.
#pragma once

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The divergence between a student's distribution q = softmax(s/T) and its teacher's p = softmax(t/T), for
/// logits s and t.
enum class Divergence {
  forward_kl,       ///< Σ p (log p - log q): Hinton, Vinyals and Dean 2015
  reverse_kl,       ///< Σ q (log q - log p): Gu et al. 2023, MiniLLM
  jensen_shannon,   ///< β KL(p ‖ m) + (1 - β) KL(q ‖ m), m = βp + (1 - β)q: Agarwal et al. 2023, GKD
  skew_kl,          ///< KL(p ‖ βp + (1 - β)q): Ko et al. 2024, DistiLLM
  skew_reverse_kl,  ///< KL(q ‖ (1 - β)p + βq): same source
  total_variation,  ///< ½ Σ |p - q|: Wen et al. 2023
  logit_mse,        ///< mean of (s - t)² over the classes: Ba and Caruana 2014
};

}  // namespace retort
