// Elementwise operations, reductions, shape operations, products and the softmax family.
#include <map>

#include "operations.hpp"
#include "retort/framework/ops/dropout.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort::golden {
namespace {

using Function = std::function<Tensor(const Arguments&, const NamedTensors&)>;

Dims dims_of(const Arguments& args) { return Dims(args.integers("dim")); }

std::optional<double> bound(const Arguments& args, const char* name) {
  if (!args.has(name)) return std::nullopt;
  return args.number(name, 0);
}

std::optional<DType> dtype_of_result(const Arguments& args) {
  if (!args.has("dtype")) return std::nullopt;
  return args.text("dtype", "") == "float64" ? DType::float64 : DType::float32;
}

template <class F>
Function unary(F f) {
  return [f](const Arguments&, const NamedTensors& in) { return f(in.at("input")); };
}
template <class F>
Function binary(F f) {
  return [f](const Arguments&, const NamedTensors& in) { return f(in.at("a"), in.at("b")); };
}
template <class F>
Function reduction(F f) {
  return [f](const Arguments& args, const NamedTensors& in) {
    return f(in.at("input"), dims_of(args), args.flag("keepdim", false));
  };
}

const std::map<std::string, Function>& functions() {
  using T = const Tensor&;
  using A = const Arguments&;
  using In = const NamedTensors&;
  static const std::map<std::string, Function> table{
      {"add", binary([](T a, T b) { return a + b; })},
      {"sub", binary([](T a, T b) { return a - b; })},
      {"mul", binary([](T a, T b) { return a * b; })},
      {"div", binary([](T a, T b) { return a / b; })},
      {"maximum", binary([](T a, T b) { return maximum(a, b); })},
      {"matmul", binary([](T a, T b) { return matmul(a, b); })},
      {"pow",
       [](A args, In in) {
         return args.has("exponent") ? pow(in.at("a"), args.number("exponent", 1))
                                     : pow(in.at("a"), in.at("b"));
       }},
      {"where", [](A, In in) { return where(in.at("cond"), in.at("a"), in.at("b")); }},
      {"exp", unary([](T x) { return exp(x); })},
      {"log", unary([](T x) { return log(x); })},
      {"tanh", unary([](T x) { return tanh(x); })},
      {"sigmoid", unary([](T x) { return sigmoid(x); })},
      {"sqrt", unary([](T x) { return sqrt(x); })},
      {"abs", unary([](T x) { return abs(x); })},
      {"neg", unary([](T x) { return -x; })},
      {"relu", unary([](T x) { return relu(x); })},
      {"silu", unary([](T x) { return silu(x); })},
      {"gelu",
       [](A args, In in) {
         const bool by_tanh = args.text("approximate", "none") == "tanh";
         return gelu(in.at("input"), by_tanh ? GeluApproximation::tanh : GeluApproximation::none);
       }},
      {"clamp", [](A args, In in) { return clamp(in.at("input"), bound(args, "min"), bound(args, "max")); }},
      {"sum", reduction([](T x, const Dims& dims, bool keep) { return sum(x, dims, keep); })},
      {"mean", reduction([](T x, const Dims& dims, bool keep) { return mean(x, dims, keep); })},
      {"amax", reduction([](T x, const Dims& dims, bool keep) { return amax(x, dims, keep); })},
      {"logsumexp", reduction([](T x, const Dims& dims, bool keep) { return logsumexp(x, dims, keep); })},
      {"var",
       [](A args, In in) {
         return var(in.at("input"), dims_of(args), args.flag("keepdim", false), args.flag("unbiased", true));
       }},
      {"max_all", unary([](T x) { return max(x); })},
      {"transpose",
       [](A args, In in) {
         return transpose(in.at("input"), args.integer("dim0", 0), args.integer("dim1", 0));
       }},
      {"permute", [](A args, In in) { return permute(in.at("input"), args.integers("dims")); }},
      {"reshape", [](A args, In in) { return reshape(in.at("input"), Shape(args.integers("shape"))); }},
      {"slice",
       [](A args, In in) {
         return slice(in.at("input"), args.integer("dim", 0), args.integer("start", 0),
                      args.integer("end", 0), args.integer("step", 1));
       }},
      {"concat",
       [](A args, In in) {
         Tensors parts;
         for (const auto& item : in) parts.push_back(item.second);
         return concat(parts, args.integer("dim", 0));
       }},
      {"gather",
       [](A args, In in) { return gather(in.at("input"), args.integer("dim", 0), in.at("index")); }},
      {"embedding",
       [](A args, In in) {
         EmbeddingOptions options;
         if (args.has("padding_idx")) options.padding_idx = args.integer("padding_idx", 0);
         return embedding(in.at("index"), in.at("weight"), options);
       }},
      {"dropout",
       [](A args, In in) {
         return dropout(in.at("input"), args.number("p", 0.5), args.flag("training", true));
       }},
      {"softmax",
       [](A args, In in) { return softmax(in.at("input"), args.integer("dim", 0), dtype_of_result(args)); }},
      {"log_softmax",
       [](A args, In in) {
         return log_softmax(in.at("input"), args.integer("dim", 0), dtype_of_result(args));
       }},
      {"linear",
       [](A, In in) {
         const auto bias = in.find("bias");
         return linear(in.at("input"), in.at("weight"), bias == in.end() ? Tensor() : bias->second);
       }},
  };
  return table;
}

}  // namespace

std::vector<Form> tensor_operation(const std::string& op) {
  if (op == "max_dim") {
    return {{"function", [](const Arguments& args, const NamedTensors& in) {
               const auto [values, indices] =
                   max(in.at("input"), args.integer("dim", 0), args.flag("keepdim", false));
               return Results{.outputs = {{"values", values}, {"indices", indices}}};
             }}};
  }
  const auto found = functions().find(op);
  if (found == functions().end()) return {};
  const Function& function = found->second;
  return {{"function", [&function](const Arguments& args, const NamedTensors& in) {
             return Results{.outputs = {{"out", function(args, in)}}};
           }}};
}

}  // namespace retort::golden
