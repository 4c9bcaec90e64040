#include "retort/framework/kernels/distillation.hpp"

#include <algorithm>
#include <limits>

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_distillation)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

using Long = long double;

std::vector<Long> log_softmax(const std::vector<Long>& z, Long temperature) {
  const Long max = *std::max_element(z.begin(), z.end());
  Long sum = 0;
  for (Long v : z) sum += std::exp((v - max) / temperature);
  std::vector<Long> y;
  for (Long v : z) y.push_back((v - max) / temperature - std::log(sum));
  return y;
}

/// A row as its definition has it, in T's range: a teacher's probability that T rounds to 0 takes no part.
template <class T>
struct Reference {
  Reference(const std::vector<Long>& s, const std::vector<Long>& t, std::int64_t label, double temperature,
            double alpha) {
    const auto n = s.size();
    const Long scale = alpha > 0 ? temperature : 1;
    const auto q = log_softmax(s, scale), plain = log_softmax(s, 1);
    const auto p = alpha > 0 ? log_softmax(t, scale) : q;
    Long divergence = 0, size = 0;
    const auto gone = [&](std::size_t i) { return alpha == 0 || static_cast<T>(std::exp(p[i])) == T{0}; };
    for (std::size_t i = 0; i < n; ++i) {
      if (gone(i)) continue;
      divergence += std::exp(p[i]) * (p[i] - q[i]);
      size += std::exp(p[i]) * (std::fabs(p[i]) + std::fabs(q[i]));
    }
    loss = alpha * scale * scale * divergence;
    loss_size = alpha * scale * scale * (1 + size);
    if (alpha < 1) {
      loss -= (1 - alpha) * plain[static_cast<std::size_t>(label)];
      loss_size += (1 - alpha) * (1 + std::fabs(plain[static_cast<std::size_t>(label)]));
    }
    const auto weight = [](Long log_probability) {  // of a probability's error
      return std::isinf(log_probability) ? 0 : std::exp(log_probability) * (1 + std::fabs(log_probability));
    };
    for (std::size_t i = 0; i < n; ++i) {
      const Long target = gone(i) ? 0 : std::exp(p[i]);
      const bool labelled = alpha < 1 && static_cast<std::int64_t>(i) == label;
      ds.push_back(alpha * scale * (std::exp(q[i]) - target) + (1 - alpha) * (std::exp(plain[i]) - labelled));
      ds_size.push_back(alpha * scale * (weight(q[i]) + weight(p[i])) +
                        (1 - alpha) * (weight(plain[i]) + labelled));
      dt.push_back(gone(i) ? 0 : alpha * scale * target * (p[i] - q[i] - divergence));
      dt_size.push_back(
          gone(i) ? 0 : alpha * scale * weight(p[i]) * (1 + std::fabs(p[i]) + std::fabs(q[i]) + size));
    }
  }
  Long loss = 0, loss_size = 0;
  std::vector<Long> ds, ds_size, dt, dt_size;
};

template <class T>
std::vector<Long> row_of(const std::vector<T>& x, std::int64_t row, std::int64_t classes) {
  return {x.begin() + row * classes, x.begin() + (row + 1) * classes};
}

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(loss_and_gradients_equal_the_definition, T, FloatTypes) {
  Worst losses, of_student, of_teacher;
  const double bound = 4 * epsilon<T>, least = 1e-36;
  std::mt19937 generator(1);
  for (std::int64_t classes : {1, 2, 3, 7, 8, 9, 10, 17, 33, 63, 64, 65, 100, 1000, 1024, 1025, 5000})
    for (double temperature : {1.0, 2.0, 3.0, 4.0, 2.5, 0.1, 50.0})
      for (double alpha : {1.0, 0.9, 0.5, 0.0}) {
        const std::int64_t rows = classes > 100 ? 2 : 11, count = rows * classes;
        const auto seed = static_cast<unsigned>(generator());
        auto s = random_values<T>(count, -9, 9, seed), t = random_values<T>(count, -9, 9, seed + 1);
        std::vector<std::int64_t> labels(rows), mask(rows);
        for (std::int64_t i = 0; i < rows; ++i) {
          labels[i] = static_cast<std::int64_t>(generator() % static_cast<unsigned>(classes));
          mask[i] = generator() % 3 != 0;
        }
        const auto kind = generator() % 5;
        for (std::int64_t i = 0; i < count; ++i) {
          const bool some = generator() % 4 == 0 && i % classes != labels[i / classes];
          if (kind == 1 && some) s[i] = t[i] = -infinity<T>;  // takes no part
          if (kind == 2 && some) t[i] = -infinity<T>;
          if (kind == 3) s[i] += 10000, t[i] -= 10000;
          if (kind == 4 && some && temperature >= 1 && temperature <= 4)
            t[i] -= sizeof(T) == 4 ? 1000 : 8000;  // underflows
        }
        const auto g = random_values<T>(rows, -1, 1, seed + 2);
        const bool with_mask = generator() % 2, with_g = generator() % 2, with_ds = generator() % 4,
                   with_dt = generator() % 2, in_place = with_ds && !with_dt && generator() % 2,
                   with_loss = generator() % 4;
        const auto result = for_threads([&] {
          auto all = poisoned<T>(rows + 2 * count);
          kernels::DistillationRows<T> call;
          call.rows = rows;
          call.classes = classes;
          call.temperature = temperature;
          call.alpha = alpha;
          call.student = s.data();
          if (in_place) {
            std::copy(s.begin(), s.end(), all.begin() + rows);
            call.student = all.data() + rows;
          }
          call.teacher = alpha > 0 ? t.data() : nullptr;
          call.labels = alpha < 1 ? labels.data() : nullptr;
          call.mask = with_mask ? mask.data() : nullptr;
          call.loss = with_loss ? all.data() : nullptr;
          call.student_gradient = with_ds ? all.data() + rows : nullptr;
          call.teacher_gradient = with_dt ? all.data() + rows + count : nullptr;
          call.g = with_g ? g.data() : nullptr;
          call.scale = 0.25;
          kernels::distillation_rows(call);
          return all;
        });
        for (std::int64_t i = 0; i < rows; ++i) {
          const bool in = !with_mask || mask[i] != 0;
          const Reference<T> reference(row_of(s, i, classes), row_of(t, i, classes), labels[i], temperature,
                                       alpha);
          const bool defined = !std::isnan(reference.loss);  // not where all classes are masked
          if (!with_loss)
            BOOST_TEST(std::isnan(result[i]));  // untouched
          else if (in)
            losses.see(static_cast<double>(result[i]), static_cast<double>(reference.loss),
                       bound * static_cast<double>(reference.loss_size));
          else
            BOOST_TEST(result[i] == T{0});
          const Long upstream = 0.25L * (with_g ? g[i] : T{1});
          for (std::int64_t j = 0; j < classes; ++j) {
            const auto k = static_cast<std::size_t>(j);
            const T ds = result[rows + i * classes + j], dt = result[rows + count + i * classes + j];
            if (!in) {
              if (with_ds) BOOST_TEST(ds == T{0});
              if (with_dt) BOOST_TEST(dt == T{0});
            } else if (defined) {
              if (with_ds)
                of_student.see(
                    static_cast<double>(ds), static_cast<double>(upstream * reference.ds[k]),
                    bound * static_cast<double>(std::fabs(upstream) * reference.ds_size[k]) + least);
              if (with_dt)
                of_teacher.see(
                    static_cast<double>(dt), static_cast<double>(upstream * reference.dt[k]),
                    bound * static_cast<double>(std::fabs(upstream) * reference.dt_size[k]) + least);
            }
          }
        }
      }
  losses.check("loss");
  of_student.check("student's gradient");
  of_teacher.check("teacher's gradient");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(edges, T, FloatTypes) {
  for (std::int64_t classes : {4, 100, 5000}) {
    const auto run = [&](std::vector<T> s, std::vector<T> t, double temperature) {
      s.resize(static_cast<std::size_t>(classes), T{-5});
      t.resize(static_cast<std::size_t>(classes), T{-5});
      std::vector<T> result(static_cast<std::size_t>(1 + 2 * classes), not_a_number<T>);
      kernels::DistillationRows<T> call;
      call.rows = 1;
      call.classes = classes;
      call.temperature = temperature;
      call.student = s.data();
      call.teacher = t.data();
      call.loss = result.data();
      call.student_gradient = result.data() + 1;
      call.teacher_gradient = result.data() + 1 + classes;
      kernels::distillation_rows(call);
      return result;
    };
    const auto finite = [](const std::vector<T>& x) {
      return std::all_of(x.begin(), x.end(), [](T v) { return std::isfinite(v); });
    };
    const T masked = -infinity<T>;
    // A class that the student lacks and the teacher has.
    BOOST_TEST(run({1, masked, 2, 0}, {1, 1, 2, 0}, 1)[0] == infinity<T>);
    // Lacking in both, or in the teacher alone, or nearly so in the teacher: all stays finite.
    const auto both = run({1, masked, 2, 0}, {1, masked, 2, 1}, 2);
    BOOST_TEST(finite(both));
    BOOST_TEST(both[2] == T{0});
    BOOST_TEST(both[static_cast<std::size_t>(classes + 2)] == T{0});
    BOOST_TEST(finite(run({1, 3, 2, 0}, {1, masked, 2, 1}, 2)));
    BOOST_TEST(finite(run({1, masked, 2, 0}, {9000, -9000, 2, 1}, 1)));
    // The same student and teacher: no loss, no gradient beyond rounding.
    const auto same = run({1, 3, 2, 0}, {1, 3, 2, 0}, 1);
    for (T v : same) BOOST_TEST(std::fabs(v) < 8 * std::numeric_limits<T>::epsilon());
    for (double temperature : {1e-6, 1e-3, 100.0})
      BOOST_TEST(finite(run({1, 3, 2, 0}, {1, 2, 3, 0}, temperature)));
    for (T bad : {not_a_number<T>, infinity<T>}) {
      BOOST_TEST(std::isnan(run({1, bad, 2, 0}, {1, 1, 2, 0}, 1)[0]));
      BOOST_TEST(std::isnan(run({1, 1, 2, 0}, {1, bad, 2, 0}, 1)[0]));
    }
  }
}

// The student lacks a class that only the teacher's later logits make improbable: a single pass must not be
// misled.
BOOST_AUTO_TEST_CASE_TEMPLATE(a_row_that_rises_late, T, FloatTypes) {
  const std::int64_t classes = 4000;
  std::vector<T> s(classes, T{0}), t(classes, T{0}), ds(classes, not_a_number<T>);
  s[1] = -infinity<T>;
  t[3999] = sizeof(T) == 4 ? 400 : 3000;
  T loss = not_a_number<T>;
  kernels::DistillationRows<T> call;
  call.rows = 1;
  call.classes = classes;
  call.student = s.data();
  call.teacher = t.data();
  call.loss = &loss;
  call.student_gradient = ds.data();
  kernels::distillation_rows(call);
  BOOST_TEST(std::fabs(static_cast<double>(loss) - std::log(3999.0)) < 8 * epsilon<T> * 9);
  BOOST_TEST(std::all_of(ds.begin(), ds.end(), [](T v) { return std::isfinite(v); }));
  BOOST_TEST(std::fabs(static_cast<double>(ds[3999]) - (1 / 3999.0 - 1)) < 8 * epsilon<T>);
}

// The first classes of a row are far below the others, or absent: the reversed row has the reversed result.
BOOST_AUTO_TEST_CASE_TEMPLATE(the_order_of_the_classes_does_not_matter, T, FloatTypes) {
  using retort::Divergence;
  Worst losses, gradients;
  for (Divergence divergence :
       {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jensen_shannon, Divergence::skew_kl,
        Divergence::skew_reverse_kl, Divergence::total_variation, Divergence::logit_mse})
    for (double alpha : {1.0, 0.5})
      for (double temperature : {0.2, 1.0, 4.0})
        for (T fall : {T{20}, T{60}, T{150}, T{2000}, infinity<T>})
          for (std::int64_t classes : {100, 1000, 3000}) {
            auto s = random_values<T>(classes, -3, 3, 1), t = random_values<T>(classes, -3, 3, 2);
            for (std::int64_t i = 0; i < 90; ++i) s[i] -= fall, t[i] -= fall;
            for (std::int64_t i = 90; i < classes && fall > 1000; ++i) s[i] -= 1000, t[i] -= 1000;
            std::int64_t label = classes - 1;
            const auto run = [&] {
              std::vector<T> result(1 + 2 * classes, not_a_number<T>);
              kernels::DistillationRows<T> call;
              call.rows = 1;
              call.classes = classes;
              call.temperature = temperature;
              call.alpha = alpha;
              call.divergence = divergence;
              call.student = s.data();
              call.teacher = t.data();
              call.labels = &label;
              call.loss = result.data();
              call.student_gradient = result.data() + 1;
              call.teacher_gradient = result.data() + 1 + classes;
              kernels::distillation_rows(call);
              return result;
            };
            const auto forward = run();
            std::reverse(s.begin(), s.end());
            std::reverse(t.begin(), t.end());
            label = 0;
            auto backward = run();
            std::reverse(backward.begin() + 1, backward.begin() + 1 + classes);
            std::reverse(backward.begin() + 1 + classes, backward.end());
            const double bound = 32 * epsilon<T> * (1 + temperature * temperature);
            losses.see(static_cast<double>(forward[0]), static_cast<double>(backward[0]),
                       bound * (1 + std::fabs(static_cast<double>(backward[0]))));
            for (std::size_t i = 1; i < forward.size(); ++i)
              gradients.see(static_cast<double>(forward[i]), static_cast<double>(backward[i]),
                            bound * (1 + std::fabs(static_cast<double>(backward[i]))));
          }
  losses.check("loss");
  gradients.check("gradients");
}

// The memory of large gradients is fetched ahead of the stores.
BOOST_AUTO_TEST_CASE_TEMPLATE(rows_of_large_calls_equal_single_rows, T, FloatTypes) {
  const std::int64_t classes = 1001, rows = (12 << 20) / classes / static_cast<std::int64_t>(sizeof(T));
  const auto s = random_values<T>(rows * classes, -5, 5, 1), t = random_values<T>(rows * classes, -5, 5, 2);
  for (auto divergence : {retort::Divergence::forward_kl, retort::Divergence::jensen_shannon}) {
    std::vector<T> ds(s.size(), not_a_number<T>), dt = ds, one_ds(classes), one_dt(classes);
    kernels::DistillationRows<T> call;
    call.rows = rows;
    call.classes = classes;
    call.divergence = divergence;
    call.student = s.data();
    call.teacher = t.data();
    call.student_gradient = ds.data();
    call.teacher_gradient = dt.data();
    kernels::distillation_rows(call);
    call.rows = 1;
    call.student_gradient = one_ds.data();
    call.teacher_gradient = one_dt.data();
    for (std::int64_t row = 0; row < rows; row += 101) {
      const std::int64_t at = row * classes;
      call.student = s.data() + at;
      call.teacher = t.data() + at;
      kernels::distillation_rows(call);
      BOOST_TEST(std::equal(one_ds.begin(), one_ds.end(), ds.begin() + at));
      BOOST_TEST(std::equal(one_dt.begin(), one_dt.end(), dt.begin() + at));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
