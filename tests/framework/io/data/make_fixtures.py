"""Writes the files that the tests of framework/io read, as PyTorch and NumPy write them."""
import numpy
import torch
from safetensors.torch import save_file

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 8 - 0.25)
tensors = dict(model.state_dict())
tensors["half"] = torch.tensor([1.0, -2.5, 65504.0, 2.0**-24, float("inf")], dtype=torch.float16)
tensors["brain"] = torch.tensor([[1.0, -2.5], [3.0e38, 1.0e-40]], dtype=torch.bfloat16)
tensors["double"] = torch.tensor([0.1, -1.0e300], dtype=torch.float64)
tensors["labels"] = torch.tensor([-(2**40), 7], dtype=torch.int64)
tensors["int"] = torch.tensor([-3, 2**30], dtype=torch.int32)
tensors["short"] = torch.tensor([-300, 300], dtype=torch.int16)
tensors["signed"] = torch.tensor([-128, 127], dtype=torch.int8)
tensors["byte"] = torch.tensor([0, 255], dtype=torch.uint8)
tensors["bool"] = torch.tensor([True, False, True])
tensors["scalar"] = torch.tensor(2.5)
tensors["nothing"] = torch.zeros(0, 4)
save_file(tensors, "pytorch.safetensors", metadata={"format": "pt", "naïve": "\"quoted\"\n"})

lib = numpy.lib.format
lib.write_array(open("version1.npy", "wb"), numpy.array([[1.5, -2, 3e-40], [numpy.inf, 0.1, -0.0]], "<f4"), (1, 0))
lib.write_array(open("version2.npy", "wb"), numpy.array([2**40, -1]), (2, 0))
lib.write_array(open("version3.npy", "wb"), numpy.array(0.1), (3, 0))

values = numpy.array([[0, 1, 2], [3, 4, 5]])
for name, dtype in {"bool": "?", "uint8": "u1", "int32": "<i4", "float16": "<f2", "big": ">f8", "big_int": ">i2"}.items():
    numpy.save(f"{name}.npy", values.astype(dtype))
numpy.save("fortran.npy", numpy.asfortranarray(numpy.arange(24, dtype=">i4").reshape(2, 3, 4)))
arrays = {"weight": values.astype("f4"), "größe": numpy.float64(0.5), "flags": values > 2, "empty": numpy.zeros((0, 3))}
numpy.savez("stored.npz", **arrays)
numpy.savez_compressed("deflated.npz", **arrays, long=numpy.zeros(5000, "i8"), words=numpy.array(["a"]))

# As transformers writes a model with tied embeddings: a prefix, no entry for the tied weight, extra metadata, BF16.
save_file({"model.embed.weight": torch.arange(6).reshape(3, 2).to(torch.bfloat16),
           "model.norm.weight": torch.tensor([0.5, 2.0], dtype=torch.float16),
           "model.eight": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn)},
          "tied.safetensors", metadata={"format": "pt", "license": "none"})
