// The limits of a case: its bare matrix products, and the memory bandwidth.
#include <cblas.h>

#include <retort/framework/base/threads.hpp>
#include <retort/framework/kernels/gemm.hpp>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "serve.hpp"

using bench::Json;
namespace kernels = retort::kernels;

namespace {

using Floats = std::vector<float>;

/// C = op(A)·op(B); operands with one name are one array, so that caches hold what they would hold in the
/// step.
struct Product {
  bool transpose_a, transpose_b;
  std::int64_t m, n, k;
  std::shared_ptr<Floats> a, b, c;
};

// As the library cuts it.
void in_strips(const Product& p) {
  kernels::gemm<float>(p.transpose_a, p.transpose_b, p.m, p.n, p.k, 1, p.a->data(), p.transpose_a ? p.m : p.k,
                       p.b->data(), p.transpose_b ? p.k : p.n, 0, p.c->data(), p.n);
}

// One call per thread.
void whole(const Product& p) {
  const std::int64_t side = std::max(p.m, p.n), threads = retort::get_num_threads();
  const auto i = [](std::int64_t size) { return static_cast<blasint>(size); };
  retort::parallel_for(side, (side + threads - 1) / threads, [&](std::int64_t begin, std::int64_t end) {
    const bool rows = p.m >= p.n;
    const std::int64_t row = rows ? begin : 0, column = rows ? 0 : begin;
    cblas_sgemm(CblasRowMajor, p.transpose_a ? CblasTrans : CblasNoTrans,
                p.transpose_b ? CblasTrans : CblasNoTrans, i(rows ? end - begin : p.m),
                i(rows ? p.n : end - begin), i(p.k), 1, p.a->data() + (p.transpose_a ? row : row * p.k),
                i(p.transpose_a ? p.m : p.k), p.b->data() + (p.transpose_b ? column * p.k : column),
                i(p.transpose_b ? p.k : p.n), 0, p.c->data() + row * p.n + column, i(p.n));
  });
}

std::function<void()> products(const Json& request) {
  std::map<std::string, std::shared_ptr<Floats>> arrays;
  const auto array = [&](const std::string& name, std::int64_t size) {
    auto& found = arrays[name];
    if (!found) found = std::make_shared<Floats>(static_cast<std::size_t>(size), 0.5f);
    return found;
  };
  std::vector<Product> all;
  for (const Json& p : request["products"]) {
    const std::int64_t m = p["m"], n = p["n"], k = p["k"];
    all.push_back({p["transpose_a"], p["transpose_b"], m, n, k, array(p["a"], m * k), array(p["b"], k * n),
                   array(p["c"], m * n)});
  }
  return [all, call = request["form"] == "strips" ? in_strips : whole] {
    for (const Product& p : all) call(p);
  };
}

// a = b + s·c with stores that go past the caches.
std::function<void()> triad(const Json& request) {
  const std::int64_t n = request["elements"];
  const auto array = [n] {
    void* memory = std::aligned_alloc(64, static_cast<std::size_t>(n) * sizeof(float));
    std::fill_n(static_cast<float*>(memory), n, 1.0f);
    return std::shared_ptr<float>(static_cast<float*>(memory), std::free);
  };
  return [n, a = array(), b = array(), c = array()] {
    retort::parallel_for(n, 1 << 18, [&](std::int64_t begin, std::int64_t end) {
#if defined(__SSE2__)
      const __m128 factor = _mm_set1_ps(3.0f);
      for (std::int64_t i = begin; i < end; i += 4)
        _mm_stream_ps(a.get() + i,
                      _mm_add_ps(_mm_load_ps(b.get() + i), _mm_mul_ps(factor, _mm_load_ps(c.get() + i))));
      _mm_sfence();
#else
      for (std::int64_t i = begin; i < end; ++i) a.get()[i] = b.get()[i] + 3.0f * c.get()[i];
#endif
    });
  };
}

}  // namespace

std::function<void()> bench::make_work(const Json& request) {
  if (request["kind"] == "triad") return triad(request);
  if (request.contains("products") && !request["products"].empty()) return products(request);
  return {};
}

Json bench::about() {
#if defined(OPENBLAS_VERSION)
  return {{"name", "limits"}, {"blas", openblas_get_config()}};
#else
  return {{"name", "limits"}, {"blas", "not OpenBLAS"}};
#endif
}

void bench::release_memory() {}

void bench::set_threads(int threads) {
  retort::set_num_threads(threads);
#if defined(OPENBLAS_VERSION)
  openblas_set_num_threads(1);  // each thread makes a call of its own
#endif
}

void bench::start_counting() {}

Json bench::counted() { return Json::object(); }
