"""Writes networks.safetensors: PyTorch networks with their weights, inputs, outputs and gradients."""
import torch
from safetensors.torch import save_file

torch.manual_seed(0)
entries = {}


def record(name, model, x, loss_of=lambda y: (y * torch.arange(y.numel()).reshape(y.shape).div(y.numel()).cos()).sum()):
    x = x.requires_grad_()
    for key, value in model.state_dict().items():
        entries[f"{name}.state.{key}"] = value.clone()
    y = model(x)
    y = y[0] if isinstance(y, tuple) else y
    loss_of(y).backward()
    entries[f"{name}.input"], entries[f"{name}.output"] = x.detach(), y.detach()
    entries[f"{name}.input_grad"] = x.grad
    for key, value in model.named_parameters():
        entries[f"{name}.grad.{key}"] = value.grad
    for key, value in model.named_buffers():
        entries[f"{name}.after.{key}"] = value.clone()


cnn = torch.nn.Sequential(
    torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(4, 4, 3, stride=2, bias=False), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(4, 3))
with torch.no_grad():
    for part in (cnn[1], cnn[5]):
        part.weight.uniform_(0.5, 2), part.bias.uniform_(-0.5, 0.5)
        part.running_mean.normal_(), part.running_var.uniform_(0.5, 2)
record("cnn", cnn, torch.randn(5, 2, 8, 8))
record("lstm", torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), torch.randn(2, 5, 3))
record("gru", torch.nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True), torch.randn(2, 5, 3))
for name, norm_first, activation in (("post_norm", False, "relu"), ("pre_norm", True, "gelu")):
    layer = torch.nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, dropout=0.0, activation=activation,
                                             norm_first=norm_first, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    record(name, layer, torch.randn(3, 4, 8))
save_file({k: v.contiguous() for k, v in entries.items()}, "networks.safetensors", metadata={"format": "pt"})
