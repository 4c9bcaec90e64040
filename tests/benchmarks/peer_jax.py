"""The layers and the steps of small networks in JAX under jit: form "jax". Answers requests as described in serve.hpp.

XLA takes as many threads as there are processors when it starts, so each number of threads has a process of its own.
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
os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

random = np.random.default_rng(0)


def leaf(*shape):
    return jnp.asarray(random.standard_normal(shape, dtype=np.float32))


def labels(rows, classes):
    return jnp.arange(rows) * 7919 % classes


def normed(x, axes, parameter_shape, w, b, eps=1e-5):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + eps) * w.reshape(parameter_shape) + b.reshape(parameter_shape)


def conv(x, w, stride=1, padding=0, groups=1):
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, w, (stride, stride), pads, feature_group_count=groups)


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def attention(q, k, v, causal=False):
    scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    if causal:
        scores = jnp.where(jnp.tri(q.shape[-2], dtype=bool), scores, -jnp.inf)
    return jax.nn.softmax(scores) @ v


def lstm(x, w, u, b):
    def cell(state, from_input):
        h, c = state
        i, f, g, o = jnp.split(from_input + h @ u.T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((x.shape[0], u.shape[1]))
    return lax.scan(cell, (start, start), (x @ w.T + b).swapaxes(0, 1))[1]


def gru(x, w, u, b):
    def cell(h, from_input):
        (a, p, n), (d, q, m) = jnp.split(from_input, 3, -1), jnp.split(h @ u.T + b, 3, -1)
        z = jax.nn.sigmoid(p + q)
        h = (1 - z) * jnp.tanh(n + jax.nn.sigmoid(a + d) * m) + z * h
        return h, h

    return lax.scan(cell, jnp.zeros((x.shape[0], u.shape[1])), (x @ w.T + b).swapaxes(0, 1))[1]


def rnn(x, w, u, b):
    def cell(h, from_input):
        h = jnp.tanh(from_input + h @ u.T)
        return h, h

    return lax.scan(cell, jnp.zeros((x.shape[0], u.shape[1])), (x @ w.T + b).swapaxes(0, 1))[1]


RECURRENT = {"LSTM": (lstm, 4), "GRU": (gru, 3), "RNN": (rnn, 1)}

FUNCTIONS = {
    "gelu tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu erf": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "pow 3": lambda x: x**3,
    "softmax": lambda x: jax.nn.softmax(x, 1),
    "sum over rows": lambda x: x.sum(0),
    "sum of each row": lambda x: x.sum(1),
    "max_pool": max_pool,
    "permute NCHW NHWC": lambda x: x.transpose(0, 2, 3, 1),
    "stack of selects": lambda x: jnp.stack([x[i] for i in range(x.shape[0])]),
}


def function_of(request):
    """The function of a layer, and its leaves after x."""
    name, shape = request.get("layer") or request["operation"], request["shape"]
    if name == "x sigmoid(y) + tanh(z) w":
        gates = lambda x, y, z, w: x * jax.nn.sigmoid(y) + jnp.tanh(z) * w
        return gates, [leaf(*shape) for _ in range(3)]
    if name in FUNCTIONS:
        return FUNCTIONS[name], []
    if name == "layer_norm":
        return lambda x, w, b: normed(x, -1, (-1,), w, b), [leaf(shape[-1]), leaf(shape[-1])]
    if name == "rms_norm":
        return lambda x, w: x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-7) * w, [leaf(shape[-1])]
    if name == "group_norm":

        def groups(x, w, b):
            y = normed(x.reshape(shape[0], 8, -1), -1, (1,), jnp.ones(1), jnp.zeros(1)).reshape(shape)
            return y * w.reshape(-1, 1, 1) + b.reshape(-1, 1, 1)

        return groups, [leaf(shape[1]), leaf(shape[1])]
    if name == "batch_norm evaluation":
        evaluation = lambda x, w, b: x * (w.reshape(-1, 1, 1) * 0.9) + b.reshape(-1, 1, 1)
        return evaluation, [leaf(shape[1]), leaf(shape[1])]
    if "norm" in name:
        norm = lambda x, w, b: normed(x, (0, 2, 3), (-1, 1, 1), w, b)
        relu = lambda *all: jax.nn.relu(norm(*all))
        return relu if name == "batch_norm relu" else norm, [leaf(shape[1]), leaf(shape[1])]
    if "conv" in name:
        out, kernel, groups = request["out"], request["kernel"], request["groups"]
        run = lambda x, w, b: conv(x, w, request["stride"], kernel // 2, groups) + b.reshape(-1, 1, 1)
        return run, [leaf(out, shape[1] // groups, kernel, kernel), leaf(out)]
    if "attention" in name:
        return attention, [leaf(*shape), leaf(*shape)]
    if name in RECURRENT:
        (run, gates), hidden = RECURRENT[name], request["hidden"]
        weights = [leaf(gates * hidden, shape[2]), leaf(gates * hidden, hidden), leaf(gates * hidden)]
        return run, [0.05 * w for w in weights]
    if name in ("matmul", "bmm"):
        return jnp.matmul, [leaf(*shape[:-2], shape[-1], shape[-2])]
    if name == "where":
        condition = leaf(*shape) > 0
        return lambda x, y: jnp.where(condition, x, y), [leaf(*shape)]
    if name == "x column":
        return jnp.multiply, [leaf(shape[0], 1)]
    if name == "concat and slice":
        return lambda x, y: jnp.concatenate([x, y], 1)[:, : shape[1]], [leaf(*shape)]
    raise ValueError("unknown layer " + name)


def linear(x, layer):
    return x @ layer[0].T + layer[1]


def linears(widths):
    return [(leaf(m, n) * n**-0.5, jnp.zeros(m)) for n, m in zip(widths, widths[1:])]


def mlp(layers, x):
    for layer in layers[:-1]:
        x = jax.nn.relu(linear(x, layer))
    return linear(x, layers[-1])


def cross_entropy(logits, classes):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), classes[:, None], 1).mean()


def cnn(net, x):
    for w, b in net["convs"]:
        x = max_pool(jax.nn.relu(conv(x, w) + b.reshape(-1, 1, 1)))
    return mlp(net["linears"], x.reshape(len(x), -1))


def gpt(net, text):
    x = net["words"][text] + net["position"]
    for norm1, norm2, layers in net["blocks"]:
        y = linear(normed(x, -1, (-1,), *norm1), layers[0])
        q, k, v = y.reshape(*x.shape[:2], 3, 4, -1).transpose(2, 0, 3, 1, 4)
        x = x + linear(attention(q, k, v, True).swapaxes(1, 2).reshape(x.shape), layers[1])
        x = x + linear(jax.nn.gelu(linear(normed(x, -1, (-1,), *norm2), layers[2])), layers[3])
    return linear(normed(x, -1, (-1,), *net["norm"]), net["head"])


def network(name, s):
    """The parameters of a network and its loss."""
    if name == "CNN step":
        net = {"convs": [(leaf(32, 1, 3, 3), jnp.zeros(32)), (leaf(64, 32, 3, 3) * 0.1, jnp.zeros(64))]}
        net["linears"] = linears([1600, 128, 10])
        x, classes = leaf(s[0], 1, s[1], s[1]), labels(s[0], 10)
        return net, lambda net, x: cross_entropy(cnn(net, x), classes), x
    width, ones = s[2], lambda: (jnp.ones(s[2]), jnp.zeros(s[2]))
    shapes = [[width, 3 * width], [width, width], [width, 4 * width], [4 * width, width]]
    net = {"words": leaf(s[4], width), "position": leaf(s[1], width), "norm": ones()}
    net["blocks"] = [(ones(), ones(), [linears(shape)[0] for shape in shapes]) for _ in range(s[3])]
    net["head"] = linears([width, s[4]])[0]
    text = labels(s[0] * s[1], s[4])
    loss = lambda net, x: cross_entropy(gpt(net, x).reshape(-1, s[4]), text)
    return net, loss, text.reshape(s[0], s[1])


def training(parameters, loss, *data, momentum=False):
    """Steps of Adam, or of SGD with momentum 0.9. XLA computes ahead what depends on constants alone, such as a
    teacher's answers, so all data are arguments."""
    zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)

    def step(state, data):
        p, m, v, t = state
        g = jax.grad(loss)(p, *data)
        if momentum:
            m = jax.tree.map(lambda m, g: 0.9 * m + g, m, g)
            return jax.tree.map(lambda p, m: p - 1e-3 * m, p, m), m, v, t
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = 1e-4 / (1 - 0.9**t), 1 / (1 - 0.999**t)
        return jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(v * b) + 1e-8), p, m, v), m, v, t + 1

    run = jax.jit(step, donate_argnums=0)
    state = [(parameters, zeros(), () if momentum else zeros(), jnp.float32(1))]

    def work():
        state[0] = jax.block_until_ready(run(state[0], data))

    return work


def distillation(request):
    teacher, student = linears(request["teacher"]), linears(request["student"])
    x = leaf(request["batch"], request["student"][0])
    classes, cached = labels(request["batch"], request["student"][-1]), mlp(teacher, x)

    def loss(student, teacher, cached, x, classes):
        answer, logits = cached if request["cached"] else mlp(teacher, x), mlp(student, x)
        soft = jax.nn.softmax(answer / 4)
        divergence = (soft * (jnp.log(soft) - jax.nn.log_softmax(logits / 4))).sum() / len(x)
        return divergence * 14.4 + cross_entropy(logits, classes) * 0.1

    return training(student, loss, teacher, cached, x, classes, momentum=request["optimizer"] == "sgd")


def make_work(request):
    if request["kind"] == "step":
        return distillation(request)
    if request["kind"] != "layer" and "sigmoid" not in request.get("operation", ""):
        return None  # the other operations are those of layers
    if request["kind"] == "layer" and request["layer"].endswith("step"):
        return training(*network(request["layer"], request["shape"]))
    leaves = [leaf(*request["shape"])]
    function, more = function_of(request)
    leaves += more
    g = jnp.asarray(random.standard_normal(function(*leaves).shape, dtype=np.float32))

    def both_ways(*leaves):
        y, pull = jax.vjp(function, *leaves)
        return y, pull(g)

    run = jax.jit(both_ways)
    return lambda: jax.block_until_ready(run(*leaves))


def peak_resident():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def measure(request):
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    work = make_work(request)
    if work is None:
        return {"skipped": True}
    if "steps" in request:  # the start of a program: its first step, then the others
        work()
        print(json.dumps({"first": True}), flush=True)
        for _ in range(request["steps"] - 1):
            work()
        return {"last": True}
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
        print(json.dumps({"name": "JAX " + jax.__version__}), flush=True)
    else:
        print(json.dumps(measure(request)), flush=True)
