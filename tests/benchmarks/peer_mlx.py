"""Layers in MLX on the processor: form "mlx". Answers requests as described in serve.hpp.

MLX takes as many threads as it likes, so each number of threads has a process of its own that is bound to as many
processors.
"""

import json
import os
import subprocess
import sys
import time

if len(sys.argv) == 1:
    children = {}
    for line in sys.stdin:
        threads = json.loads(line).get("threads", 1)
        if threads not in children:
            command = [sys.executable, __file__, str(threads)]
            children[threads] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(line.strip(), file=children[threads].stdin, flush=True)
        print(children[threads].stdout.readline().strip(), flush=True)
    sys.exit()

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = sys.argv[1]
import mlx.core as mx
import mlx.nn as nn

mx.set_default_device(mx.cpu)


def leaf(*shape):
    return mx.random.normal(shape)


def normed(x, axes, shape, w, b):
    y = (x - x.mean(axes, keepdims=True)) * mx.rsqrt(x.var(axes, keepdims=True) + 1e-5)
    return y * w.reshape(shape) + b.reshape(shape)


def composed_attention(q, k, v):
    return mx.softmax(q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5, -1) @ v


FUNCTIONS = {
    "gelu tanh": nn.gelu_approx,
    "gelu erf": nn.gelu,
    "silu": nn.silu,
    "pow 3": lambda x: x**3,
    "softmax": lambda x: mx.softmax(x, 1),
    "sum over rows": lambda x: x.sum(0),
    "sum of each row": lambda x: x.sum(1),
    "permute NCHW NHWC": lambda x: mx.contiguous(x.transpose(0, 2, 3, 1)),
    "stack of selects": lambda x: mx.stack([x[i] for i in range(x.shape[0])]),
}


def function_of(request):
    """The function of a layer, and its leaves after x; None for what MLX does not have for this layout."""
    name, shape = request["layer"], request["shape"]
    if name in FUNCTIONS:
        return FUNCTIONS[name], []
    if name == "layer_norm":
        return lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-5), [leaf(shape[-1]), leaf(shape[-1])]
    if name == "rms_norm":
        return lambda x, w: mx.fast.rms_norm(x, w, 1e-6), [leaf(shape[-1])]
    if name in ("batch_norm", "batch_norm relu"):
        norm = lambda x, w, b: normed(x, (0, 2, 3), (-1, 1, 1), w, b)
        relu = lambda *all: mx.maximum(norm(*all), 0)
        return relu if name == "batch_norm relu" else norm, [leaf(shape[1]), leaf(shape[1])]
    if name == "attention composed":
        return composed_attention, [leaf(*shape), leaf(*shape)]
    if name == "attention":
        attention = lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=shape[-1] ** -0.5)
        return attention, [leaf(*shape), leaf(*shape)]
    if name in ("matmul", "bmm"):
        return mx.matmul, [leaf(*shape[:-2], shape[-1], shape[-2])]
    if name == "where":
        condition = leaf(*shape) > 0
        return lambda x, y: mx.where(condition, x, y), [leaf(*shape)]
    if name == "x column":
        return mx.multiply, [leaf(shape[0], 1)]
    if name == "concat and slice":
        return lambda x, y: mx.concatenate([x, y], 1)[:, : shape[1]], [leaf(*shape)]
    if "conv" in name:  # channels last, as MLX has them
        out, kernel, groups = request["out"], request["kernel"], request["groups"]
        conv = lambda x, w, b: mx.conv2d(x, w, request["stride"], kernel // 2, 1, groups) + b
        return conv, [leaf(out, kernel, kernel, shape[1] // groups), leaf(out)]
    return None


def make_work(request):
    found = function_of(request) if request["kind"] == "layer" else None
    if found is None:
        return None
    function, more = found
    shape = request["shape"]
    if "conv" in request["layer"]:
        shape = [shape[0], shape[2], shape[3], shape[1]]
    leaves = [leaf(*shape)] + more
    g = leaf(*function(*leaves).shape)
    mx.eval(leaves, g)

    def both_ways(*leaves):
        y, gradients = mx.vjp(function, leaves, [g])
        return [mx.contiguous(result) for result in y + gradients]  # views are written out, as by the others

    run = mx.compile(both_ways)
    return lambda: mx.eval(run(*leaves))


def peak_resident():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def measure(request):
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    work = make_work(request)
    if work is None:
        return {"skipped": True}
    for _ in range(3):
        work()
    calls, seconds = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        seconds = time.perf_counter() - start
        if seconds >= request["min_time"]:
            break
        calls = max(calls + 1, min(10 * calls, int(1.4 * calls * request["min_time"] / max(seconds, 1e-9))))
    return {"seconds": seconds / calls, "peak_resident": peak_resident()}


for line in sys.stdin:
    request = json.loads(line)
    if "about" in request:
        print(json.dumps({"name": "MLX " + mx.__version__}), flush=True)
    else:
        print(json.dumps(measure(request)), flush=True)
