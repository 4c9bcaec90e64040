"""The cases in Python's torch: forms "eager" and "compiled". Answers requests line by line, as described in serve.hpp."""

import json
import os
import sys
import tempfile
import time

# Compiled code is kept in a folder of its own for each instruction set: with code for another one, the process
# corrupts its memory.
folder = os.path.join(tempfile.gettempdir(), "torchinductor-" + os.environ.get("ATEN_CPU_CAPABILITY", "default"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)

import torch
import torch.nn.functional as F

TEMPERATURE, ALPHA = 4.0, 0.9


def mlp(widths):
    layers = []
    for i in range(1, len(widths)):
        layers += ([torch.nn.ReLU()] if i > 1 else []) + [torch.nn.Linear(widths[i - 1], widths[i])]
    return torch.nn.Sequential(*layers)


def labels(rows, classes):
    return torch.arange(rows) * 7919 % classes


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def loss_of(student, teacher, classes):
    divergence = F.kl_div(F.log_softmax(student / TEMPERATURE, 1), F.softmax(teacher / TEMPERATURE, 1), reduction="batchmean")
    return divergence * (ALPHA * TEMPERATURE**2) + F.cross_entropy(student, classes) * (1 - ALPHA)


def step(request, wrap):
    teacher, student = mlp(request["teacher"]), mlp(request["student"])
    rows, widths = request["batch"], request["student"]
    x, classes = torch.randn(rows, widths[0]), labels(rows, widths[-1])
    parameters = student.parameters()
    if request["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=0.001, momentum=0.9)
    else:
        optimizer = torch.optim.Adam(parameters, lr=0.0001)
    ask = wrap(teacher)
    loss = wrap(lambda x, answer: loss_of(student(x), answer, classes))
    with torch.no_grad():
        cached = teacher(x) if request["cached"] else None

    def work():
        answer = cached
        if answer is None:
            with torch.no_grad():
                answer = ask(x)
        value = loss(x, answer)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return work


def backward_of(function, leaves, g=None):
    def work():
        for tensor in leaves:
            tensor.grad = None
        function(*leaves).backward(g)

    return work


def make_loss(request, wrap):
    shape = request["rows"], request["classes"]
    student, teacher = torch.randn(*shape), torch.randn(*shape)
    if request["from"] == "logits":
        classes = labels(*shape)
        return backward_of(wrap(lambda s: loss_of(s, teacher, classes)), [student.requires_grad_()])
    student, teacher = student.log_softmax(1).requires_grad_(), teacher.softmax(1)
    return backward_of(wrap(lambda s: F.kl_div(s, teacher, reduction="batchmean")), [student])


def divergence_of(name, student, teacher):
    """The mean over rows of a loss of distillation_loss(), composed."""
    if name == "logit_mse":
        return F.mse_loss(student, teacher)
    log_q, log_p = F.log_softmax(student / TEMPERATURE, 1), F.log_softmax(teacher / TEMPERATURE, 1)
    q, p = log_q.exp(), log_p.exp()
    if name == "total_variation":
        return (p - q).abs().sum(1).mean() / 2
    log_m = ((p + q) / 2).log()
    terms = {
        "forward_kl": lambda: p * (log_p - log_q),
        "reverse_kl": lambda: q * (log_q - log_p),
        "jensen_shannon": lambda: (p * (log_p - log_m) + q * (log_q - log_m)) / 2,
        "skew_kl": lambda: p * (log_p - log_m),
        "skew_reverse_kl": lambda: q * (log_q - log_m),
    }[name]()
    return terms.sum(1).mean() * TEMPERATURE**2


def sparse_loss(student, indices, log_p, log_tail):
    log_q = F.log_softmax(student / TEMPERATURE, 1)
    kept = log_q.gather(1, indices)
    rest = log_q.scatter(1, indices, -torch.inf).logsumexp(1)
    terms = (log_p.exp() * (log_p - kept)).sum(1) + log_tail.exp() * (log_tail - rest)
    return terms.mean() * TEMPERATURE**2


def divergence(request, wrap):
    shape, name = (request["rows"], request["classes"]), request["loss"]
    student, teacher = leaf(*shape), torch.randn(*shape)
    if name == "cross_entropy":
        classes = labels(*shape)
        return backward_of(wrap(lambda s: F.cross_entropy(s, classes)), [student])
    if name == "sparse":
        if shape[1] <= 16:  # without a tail
            return None
        log_p, indices = F.log_softmax(teacher / TEMPERATURE, 1).topk(16, 1)
        log_tail = torch.log1p(-log_p.exp().sum(1))
        return backward_of(wrap(lambda s: sparse_loss(s, indices, log_p, log_tail)), [student])
    return backward_of(wrap(lambda s: divergence_of(name, s, teacher)), [student])


def linear_loss(request, wrap):
    rows, classes, features = request["rows"], request["classes"], request["features"]
    leaves = [leaf(rows, features), leaf(classes, features), leaf(classes)]
    teacher, truth = torch.randn(rows, classes), labels(rows, classes)
    return backward_of(wrap(lambda h, w, b: loss_of(F.linear(h, w, b), teacher, truth)), leaves)


def operation(request, wrap):
    name, shape = request["operation"], request["shape"]
    x = leaf(*shape)
    if name == "adam":
        x.grad = torch.randn(*shape)
        return wrap(torch.optim.Adam([x], lr=0.0001).step)
    if name == "linear":
        out = request["out"]
        return backward_of(wrap(F.linear), [x, leaf(out, shape[1]), leaf(out)], torch.randn(shape[0], out))
    if name == "sum":
        return backward_of(wrap(torch.sum), [x])
    if name == "add":
        return backward_of(wrap(torch.add), [x, leaf(*shape)], torch.randn(*shape))
    if name == "x sigmoid(y) + tanh(z) w":
        gates = wrap(lambda x, y, z, w: x * torch.sigmoid(y) + torch.tanh(z) * w)
        return backward_of(gates, [x, leaf(*shape), leaf(*shape), leaf(*shape)], torch.randn(*shape))
    function = F.relu if name == "relu" else lambda x: F.log_softmax(x, 1)
    return backward_of(wrap(function), [x], torch.randn(*shape))


def chain(request, wrap):
    c = torch.ones(16)

    def run(x):
        for _ in range(request["length"] // 2):
            x = (x + c) * c
        return x.sum()

    return backward_of(run, [leaf(16)])


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.into, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        rows, length, width = x.shape
        q, k, v = self.into(self.norm1(x)).view(rows, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(torch.nn.Module):
    def __init__(self, length, width, depth, words):
        super().__init__()
        self.words = torch.nn.Embedding(words, width)
        self.position = torch.nn.Parameter(torch.randn(length, width))
        self.blocks = torch.nn.Sequential(*[Block(width) for _ in range(depth)])
        self.norm, self.head = torch.nn.LayerNorm(width), torch.nn.Linear(width, words)

    def forward(self, text):
        return self.head(self.norm(self.blocks(self.words(text) + self.position))).flatten(0, 1)


def cnn():
    n = torch.nn
    return n.Sequential(
        *[n.Conv2d(1, 32, 3), n.ReLU(), n.MaxPool2d(2), n.Conv2d(32, 64, 3), n.ReLU(), n.MaxPool2d(2)],
        *[n.Flatten(), n.Linear(1600, 128), n.ReLU(), n.Linear(128, 10)]
    )


def network(name, shape, wrap):
    if name == "CNN step":
        net, x, classes = cnn(), torch.randn(shape[0], 1, shape[1], shape[1]), labels(shape[0], 10)
    else:
        net, tokens = Gpt(*shape[1:]), shape[0] * shape[1]
        x, classes = labels(tokens, shape[4]).view(shape[:2]), labels(tokens, shape[4])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    loss = wrap(lambda: F.cross_entropy(net(x), classes))

    def work():
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return work


def composed_attention(q, k, v):
    return F.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v


FUNCTIONS = {
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu erf": F.gelu,
    "silu": F.silu,
    "pow 3": lambda x: x**3,
    "softmax": lambda x: F.softmax(x, 1),
    "sum over rows": lambda x: x.sum(0),
    "sum of each row": lambda x: x.sum(1),
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "permute NCHW NHWC": lambda x: x.permute(0, 2, 3, 1).contiguous(),
    "stack of selects": lambda x: torch.stack([x[i] for i in range(x.shape[0])]),
}


def function_of(request):
    """The function of a layer, and its leaves after x."""
    name, shape = request["layer"], request["shape"]
    if name in FUNCTIONS:
        return FUNCTIONS[name], []
    if name == "layer_norm":
        return lambda x, w, b: F.layer_norm(x, w.shape, w, b), [leaf(shape[-1]), leaf(shape[-1])]
    if name == "rms_norm":
        return lambda x, w: F.rms_norm(x, w.shape, w), [leaf(shape[-1])]
    if "norm" in name:
        parameters = [leaf(shape[1]), leaf(shape[1])]
        if name == "group_norm":
            return lambda x, w, b: F.group_norm(x, 8, w, b), parameters
        mean, variance = torch.zeros(shape[1]), torch.ones(shape[1])
        norm = lambda x, w, b: F.batch_norm(x, mean, variance, w, b, name != "batch_norm evaluation")
        return (lambda *all: F.relu(norm(*all))) if name == "batch_norm relu" else norm, parameters
    if "conv" in name:
        out, kernel, groups = request["out"], request["kernel"], request["groups"]
        conv = lambda x, w, b: F.conv2d(x, w, b, request["stride"], kernel // 2, 1, groups)
        return conv, [leaf(out, shape[1] // groups, kernel, kernel), leaf(out)]
    if "attention" in name:
        attention = composed_attention if name == "attention composed" else F.scaled_dot_product_attention
        return attention, [leaf(*shape), leaf(*shape)]
    if name in ("LSTM", "GRU", "RNN"):
        net = getattr(torch.nn, name)(shape[2], request["hidden"], batch_first=True)
        return lambda x, *weights: net(x)[0], list(net.parameters())
    if name in ("matmul", "bmm"):
        return torch.matmul, [leaf(*shape[:-2], shape[-1], shape[-2])]
    if name == "where":
        condition = torch.randn(*shape) > 0
        return lambda x, y: torch.where(condition, x, y), [leaf(*shape)]
    if name == "x column":
        return torch.mul, [leaf(shape[0], 1)]
    if name == "concat and slice":
        return lambda x, y: torch.cat([x, y], 1)[:, : shape[1]].contiguous(), [leaf(*shape)]
    raise ValueError("unknown layer " + name)


def layer(request, wrap):
    if request["layer"].endswith("step"):
        return network(request["layer"], request["shape"], wrap)
    x = leaf(*request["shape"])
    function, more = function_of(request)
    with torch.no_grad():
        g = torch.randn_like(function(x, *more))
    return backward_of(wrap(function), [x] + more, g)


MAKERS = {
    "layer": layer,
    "step": step,
    "loss": make_loss,
    "linear_loss": linear_loss,
    "divergence": divergence,
    "operation": operation,
    "chain": chain,
}


def peak_resident():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def measure(request):
    compiled = request["form"] == "compiled"
    if compiled and request["kind"] == "chain":  # it would unroll the loop
        return {"skipped": True}
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    torch.set_num_threads(request.get("threads", 1))
    torch.manual_seed(0)
    if compiled:
        torch._dynamo.reset()
    work = MAKERS[request["kind"]](request, torch.compile if compiled else lambda f: f)
    if work is None:
        return {"skipped": True}
    if "steps" in request:
        work()
        print(json.dumps({"first": True}), flush=True)
        for _ in range(request["steps"] - 1):
            work()
        return {"last": True}
    start = time.perf_counter()
    work()
    if compiled or time.perf_counter() - start < 0.5:
        work()
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
        print(json.dumps({"name": "Python torch " + torch.__version__}), flush=True)
    else:
        print(json.dumps(measure(request)), flush=True)
