"""Small models, and a reader of the format safetensors written from its description."""

import json
import struct
from pathlib import Path

import torch
from torch import nn

BATCH = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(12).reshape(2, 6)
TYPES = {
    "F32": torch.float32,
    "F64": torch.float64,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


class Tied(nn.Module):
    """A table that is the readout too, an LSTM, a padding row, a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16, padding_idx=3)
        self.norm, self.rnn = nn.LayerNorm(16), nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("scale", torch.ones(1), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def reset_parameters(self):
        self.steps.zero_()

    def forward(self, tokens):
        return self.head(self.rnn(self.norm(self.table(tokens)))[0]) * self.scale


class Experts(nn.Module):
    """Three matrices in one tensor."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 20, 20))

    def forward(self, x):
        return sum(x @ one for one in self.weight)


def mlp():
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.BatchNorm1d(30), nn.Linear(30, 5))


def on_meta(make):
    with torch.device("meta"):
        return make()


def read(path):
    """The tensors of one file, by name, and its metadata."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    tensors, end = {}, 0
    for name, said in header.items():
        start, stop = said["data_offsets"]
        assert start == end
        end = stop
        part = bytearray(data[8 + length + start : 8 + length + stop])
        dtype = TYPES[said["dtype"]]
        flat = torch.frombuffer(part, dtype=dtype) if part else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(said["shape"])
    assert 8 + length + end == len(data)
    assert length % 8 == 0
    return tensors, metadata


def read_all(directory):
    """The tensors of a whole checkpoint, found by its index where it has one."""
    directory = Path(directory)
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return read(directory / "model.safetensors")[0]
    places = json.loads(index.read_text())["weight_map"]
    files = {name: read(directory / name)[0] for name in set(places.values())}
    assert sum(map(len, files.values())) == len(places)
    return {name: files[file][name] for name, file in places.items()}


def contents(directory):
    """The bytes of each complete file but the journal, by name; none where nothing was made."""
    return {
        path.name: path.read_bytes()
        for path in sorted(Path(directory).glob("*"))
        if path.name != "fanin-checkpoint.json" and path.is_file()
    }


def state(directory):
    """What there is of each file, its journal too, that a call may change."""
    return {
        path.relative_to(directory): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in Path(directory).rglob("*")
    }


def same(first, second):
    """Whether two tensors have the same dtype, shape and bits."""
    return first.dtype == second.dtype and torch.equal(first, second)
