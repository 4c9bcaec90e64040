#include <ostream>

#include "retort/framework/base/error.hpp"
#include "retort/losses/distillation_loss.hpp"

namespace retort {

std::string_view name(Divergence divergence) {
  switch (divergence) {
    case Divergence::forward_kl: return "forward_kl";
    case Divergence::reverse_kl: return "reverse_kl";
    case Divergence::jensen_shannon: return "jensen_shannon";
    case Divergence::skew_kl: return "skew_kl";
    case Divergence::skew_reverse_kl: return "skew_reverse_kl";
    case Divergence::total_variation: return "total_variation";
    case Divergence::logit_mse: return "logit_mse";
  }
  return "unknown divergence";
}

std::ostream& operator<<(std::ostream& stream, Divergence divergence) { return stream << name(divergence); }

Divergence divergence_from_string(std::string_view text) {
  for (int i = 0; i <= static_cast<int>(Divergence::logit_mse); ++i)
    if (const auto divergence = static_cast<Divergence>(i); name(divergence) == text) return divergence;
  throw ValueError(
      message("divergence_from_string: '{}' is not a divergence; it must be forward_kl, reverse_kl, "
              "jensen_shannon, skew_kl, skew_reverse_kl, total_variation or logit_mse",
              text));
}

}  // namespace retort
