// The operations of ops2.json that arrange, scan, sort and measure.
#include <cmath>
#include <map>

#include "operations.hpp"
#include "retort/framework/ops/distance.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/layout.hpp"
#include "retort/framework/ops/scan.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/sorting.hpp"

namespace retort::golden {
namespace {

using T = const Tensor&;
using A = const Arguments&;
using In = const NamedTensors&;
using Call = std::function<Results(A, In)>;

/// f(input, arguments) gives the one result.
template <class F>
Call one(F f) {
  return [f](A args, In in) { return Results{.outputs = {{"out", f(in.at("input"), args, in)}}}; };
}
template <class F>
Call two(F f) {
  return [f](A args, In in) { return Results{.outputs = {{"out", f(in.at("a"), in.at("b"), args)}}}; };
}
template <class F>
Call sorted(F f) {
  return [f](A args, In in) {
    const auto [values, indices] = f(in.at("input"), args);
    return Results{.outputs = {{"values", values}, {"indices", indices}}};
  };
}

template <class F>
Call several(F f) {
  return [f](A args, In in) {
    Results results;
    std::size_t i = 0;
    for (Tensor& part : f(in.at("input"), args))
      results.outputs["out" + std::to_string(i++)] = std::move(part);
    return results;
  };
}
template <class F>
Call plain(F f) {
  return one([f](T x, A, In) { return f(x); });
}

double order_of(A args) { return args.is_text("p") ? INFINITY : args.number("p", 2); }

const std::map<std::string, Call>& calls() {
  static const std::map<std::string, Call> table{
      {"cumsum", one([](T x, A args, In) { return cumsum(x, args.integer("dim", 0)); })},
      {"prod",
       one([](T x, A args, In) { return prod(x, args.integers("dim"), args.flag("keepdim", false)); })},
      {"norm", one([](T x, A args, In) {
         return norm(x, order_of(args), args.integers("dim"), args.flag("keepdim", false));
       })},
      {"cosine_similarity", two([](T a, T b, A args) {
         return cosine_similarity(a, b, args.integer("dim", 1), args.number("eps", 1e-8));
       })},
      {"cdist", two([](T a, T b, A args) { return cdist(a, b, order_of(args)); })},
      {"masked_fill",
       one([](T x, A args, In in) { return masked_fill(x, in.at("mask"), args.number("value", 0)); })},
      {"tril", one([](T x, A args, In) { return tril(x, args.integer("k", 0)); })},
      {"triu", one([](T x, A args, In) { return triu(x, args.integer("k", 0)); })},
      {"pad", one([](T x, A args, In) { return pad(x, args.integers("pad"), args.number("value", 0)); })},
      {"flip", one([](T x, A args, In) { return flip(x, args.integers("dims")); })},
      {"repeat", one([](T x, A args, In) { return repeat(x, args.integers("times")); })},
      {"scatter_add", one([](T x, A args, In in) {
         return scatter_add(x, args.integer("dim", 0), in.at("index"), in.at("source"));
       })},
      {"index_add", one([](T x, A args, In in) {
         return index_add(x, args.integer("dim", 0), in.at("index"), in.at("source"));
       })},
      {"sin", plain([](T x) { return sin(x); })},
      {"cos", plain([](T x) { return cos(x); })},
      {"erf", plain([](T x) { return erf(x); })},
      {"log1p", plain([](T x) { return log1p(x); })},
      {"expm1", plain([](T x) { return expm1(x); })},
      {"softplus", one([](T x, A args, In) {
         return softplus(x, {.beta = args.number("beta", 1), .threshold = args.number("threshold", 20)});
       })},
      {"elu", one([](T x, A args, In) { return elu(x, args.number("alpha", 1)); })},
      {"leaky_relu", one([](T x, A args, In) { return leaky_relu(x, args.number("negative_slope", 0.01)); })},
      {"relu6", plain([](T x) { return relu6(x); })},
      {"hardsigmoid", plain([](T x) { return hardsigmoid(x); })},
      {"hardswish", plain([](T x) { return hardswish(x); })},
      {"prelu", one([](T x, A, In in) { return prelu(x, in.at("weight")); })},
      {"logaddexp", two([](T a, T b, A) { return logaddexp(a, b); })},
      {"split",
       several([](T x, A args) { return split(x, args.integer("size", 1), args.integer("dim", 0)); })},
      {"chunk",
       several([](T x, A args) { return chunk(x, args.integer("chunks", 1), args.integer("dim", 0)); })},
      {"argsort", one([](T x, A args, In) {
         return argsort(x, args.integer("dim", -1), args.flag("descending", false));
       })},
      {"sort",
       sorted([](T x, A args) { return sort(x, args.integer("dim", -1), args.flag("descending", false)); })},
      {"topk", sorted([](T x, A args) {
         return topk(x, args.integer("k", 1), args.integer("dim", -1), args.flag("largest", true));
       })},
  };
  return table;
}

}  // namespace

std::vector<Form> array_operation(const std::string& op) {
  const auto found = calls().find(op);
  if (found == calls().end()) return {};
  return {{"function", found->second}};
}

}  // namespace retort::golden
