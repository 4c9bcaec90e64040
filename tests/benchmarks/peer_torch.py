"""The cases in Python's torch: forms "eager" and "compiled". Answers requests line by line, as serve.hpp tells."""

import json
import sys
import time

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


MAKERS = {
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
