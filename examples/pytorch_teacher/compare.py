"""Loads teacher and student of a run of `distill teach` into PyTorch and compares their logits with the run's."""
import argparse
import pathlib
import sys

import torch
from safetensors.torch import load_file

from train_teacher import load_images, make_teacher


class Student(torch.nn.Module):
    """The Mlp of distill, with the parameters layers.0.weight, layers.0.bias, layers.1.weight, ..."""

    def __init__(self, sizes):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def load_student(path):
    state = load_file(path)
    weights = [state[f"layers.{i}.weight"] for i in range(len(state) // 2)]
    student = Student([weights[0].shape[1]] + [weight.shape[0] for weight in weights])
    student.load_state_dict(state)
    return student.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of MNIST's four files")
    parser.add_argument("--teacher", default="teacher.safetensors", help="what train_teacher.py wrote")
    parser.add_argument("--run", default="runs/pytorch-teacher", help="what distill teach wrote")
    arguments = parser.parse_args()
    run = pathlib.Path(arguments.run)

    teacher = make_teacher()
    teacher.load_state_dict(load_file(arguments.teacher))
    images, labels = load_images(arguments.data, "t10k")
    theirs = load_file(run / "predictions.safetensors")
    agree = True
    for name, network in ("teacher", teacher.eval()), ("distilled", load_student(run / "distilled.safetensors")):
        with torch.no_grad():
            logits = network(images)
        difference = ((logits - theirs[name]).abs() / logits.abs().clamp(min=1)).max().item()
        accuracy = (logits.argmax(1) == labels).float().mean()
        print(f"{name}: test accuracy {100 * accuracy:.2f} %, logits differ by at most {difference:.1e}")
        agree = agree and difference <= 1e-5
    sys.exit(0 if agree else "the logits differ by more than 1e-5")


if __name__ == "__main__":
    main()
