"""Trains a teacher with PyTorch and writes its weights to a .safetensors file for `distill teach`."""
import argparse
import gzip
import pathlib

import numpy
import torch
from safetensors.torch import save_file


def load_idx(folder, name):
    """Reads one of MNIST's files, plain or compressed."""
    path = pathlib.Path(folder) / name
    opened = open(path, "rb") if path.exists() else gzip.open(f"{path}.gz", "rb")
    with opened as file:
        content = file.read()
    dimensions = content[3]
    shape = numpy.frombuffer(content, ">u4", dimensions, offset=4).astype(int)
    return torch.from_numpy(numpy.frombuffer(content, numpy.uint8, offset=4 + 4 * dimensions).copy().reshape(shape))


def load_images(folder, stem):
    """Reads images as rows of values in [0, 1], like Retort, and labels."""
    images = load_idx(folder, f"{stem}-images-idx3-ubyte").flatten(1).float() / 255
    return images, load_idx(folder, f"{stem}-labels-idx1-ubyte").long()


def make_teacher():
    return torch.nn.Sequential(
        torch.nn.Linear(784, 400),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(400, 400),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(400, 10),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of MNIST's four files")
    parser.add_argument("--out", default="teacher.safetensors")
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    images, labels = load_images(arguments.data, "train")
    test_images, test_labels = load_images(arguments.data, "t10k")
    teacher = make_teacher()
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.epochs)
    for epoch in range(1, arguments.epochs + 1):
        teacher.train()
        for rows in torch.randperm(len(images)).split(128):
            loss = torch.nn.functional.cross_entropy(teacher(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        teacher.eval()
        with torch.no_grad():
            accuracy = (teacher(test_images).argmax(1) == test_labels).float().mean()
        print(f"epoch {epoch}: test accuracy {100 * accuracy:.2f} %")
    save_file(teacher.state_dict(), arguments.out)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
