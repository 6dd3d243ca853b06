"""The texts of fans, layouts and their errors, word for word.

A text is read by people and searched for by them, so it changes on purpose: run this file
(``python -m tests.golden.test_fans_text``), read the difference, and commit it with its reason.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from fanin import Block, FaninError, Layout, fans, layout

HERE = Path(__file__).parent / "fans"
HALVES = (Block("gate", 16), Block("up", 16))
FUSED = (Block("query", 16), Block("key", 8), Block("value", 8))

FANS: dict[str, Callable[[], object]] = {
    "Linear": lambda: fans(nn.Linear(8, 32)),
    "Linear, a packed gated layer": lambda: fans(layout(nn.Linear(8, 32), blocks=HALVES)),
    "Bilinear": lambda: fans(nn.Bilinear(4, 6, 10)),
    "Conv2d": lambda: fans(nn.Conv2d(16, 32, 3)),
    "Conv2d, grouped": lambda: fans(nn.Conv2d(16, 32, 3, groups=4)),
    "Conv2d, depthwise": lambda: fans(nn.Conv2d(32, 32, 3, groups=32)),
    "Conv2d, strided": lambda: fans(nn.Conv2d(16, 32, 3, stride=2)),
    "Conv2d, zero-padded": lambda: fans(nn.Conv2d(16, 32, 3, padding=1), input_size=(8, 8)),
    "Conv2d, 1x1 strided": lambda: fans(nn.Conv2d(16, 32, 1, stride=2)),
    "ConvTranspose2d": lambda: fans(nn.ConvTranspose2d(16, 32, 4, stride=2)),
    "ConvTranspose1d, grouped": lambda: fans(nn.ConvTranspose1d(16, 32, 8, stride=4, groups=4)),
    "Embedding": lambda: fans(nn.Embedding(1000, 64)),
    "EmbeddingBag, summed": lambda: fans(
        layout(nn.EmbeddingBag(1000, 64, mode="sum"), bag_size=10)
    ),
    "EmbeddingBag, averaged": lambda: fans(
        layout(nn.EmbeddingBag(1000, 64, mode="mean"), bag_size=10)
    ),
    "MultiheadAttention": lambda: fans(nn.MultiheadAttention(8, 2), "in_proj_weight"),
    "LSTM": lambda: fans(nn.LSTM(8, 16), "weight_hh_l0"),
    "GRU": lambda: fans(nn.GRU(8, 16), "weight_ih_l0"),
    "RNN": lambda: fans(nn.RNN(8, 16), "weight_ih_l0"),
    "LSTM, projected": lambda: fans(nn.LSTM(8, 16, proj_size=4), "weight_hr_l0"),
    "experts": lambda: fans(Layout((8, 64, 32), "batch out in")),
    "x @ w": lambda: fans(Layout((32, 64), "in out")),
}

ERRORS: dict[str, Callable[[], object]] = {
    "an unknown axis": lambda: Layout((2, 3), "out inn"),
    "an unknown role": lambda: Layout((2, 3), "out in", role="wieght"),
    "an axis without a name": lambda: Layout((2, 3, 5), "out in"),
    "a channel beside an out axis": lambda: Layout((2, 3), "out channel"),
    "a shape that is none": lambda: Layout((2, -3), "out in"),
    "no taps": lambda: Layout((2, 3), "out in", taps_per_output=0),
    "groups that do not divide": lambda: Layout((6, 3), "out in", groups=4),
    "groups of nothing": lambda: Layout((6,), "channel", groups=2),
    "groups and blocks": lambda: Layout((32, 3), "out in", groups=2, blocks=HALVES),
    "blocks that do not add up": lambda: layout(nn.Linear(8, 30), blocks=HALVES),
    "blocks of two axes": lambda: Layout((8, 4, 3), "out out in", blocks=HALVES),
    "an empty block": lambda: Block("gate", 0),
    "fan_out of unequal blocks": lambda: fans(layout(nn.Linear(8, 32), blocks=FUSED)),
    "fans of a bias": lambda: fans(nn.Linear(8, 32), "bias"),
    "a matrix of a norm": lambda: layout(nn.LayerNorm(8)).matrix_shape(),
    "a tensor of another shape": lambda: Layout((2, 3), "out in").check(torch.ones(3, 2)),
    "a misspelt parameter": lambda: layout(nn.Linear(8, 32), "wieght"),
    "a misspelt submodule": lambda: layout(
        nn.TransformerEncoderLayer(8, 2, 8), "self_atn.out_proj.weight"
    ),
    "a module for a parameter": lambda: layout(nn.Sequential(nn.Linear(8, 32)), "0"),
    "an absent bias": lambda: layout(nn.Linear(8, 32, bias=False), "bias"),
    "a module without parameters": lambda: layout(nn.ReLU()),
    "a lazy parameter": lambda: layout(nn.LazyLinear(32)),
    "unknown axes": lambda: layout(nn.ParameterDict({"experts": torch.ones(2, 3, 4)}), "experts"),
    "an input size of a linear layer": lambda: fans(nn.Linear(8, 32), input_size=(4,)),
    "an input size of a layout": lambda: fans(layout(nn.Linear(8, 32)), input_size=(4,)),
    "an input size of too few axes": lambda: fans(nn.Conv2d(8, 32, 3), input_size=(4,)),
    "an input smaller than the kernel": lambda: fans(nn.Conv1d(8, 32, 3), input_size=(2,)),
    "an input that no tap meets": lambda: fans(
        nn.Conv1d(8, 32, 1, stride=3, padding=1), input_size=(1,)
    ),
    "a bag size of an embedding": lambda: layout(nn.Embedding(8, 32), bag_size=4),
    "an empty bag": lambda: layout(nn.EmbeddingBag(8, 32), bag_size=0),
    "the maximum of a bag": lambda: layout(nn.EmbeddingBag(8, 32, mode="max"), bag_size=4),
}


def _error(call: Callable[[], object]) -> FaninError:
    try:
        call()
    except FaninError as error:
        return error
    raise AssertionError("this call was to be refused")


def _texts() -> dict[str, str]:
    sections = {
        "fans.txt": FANS,
        "errors.txt": {title: partial(_error, call) for title, call in ERRORS.items()},
    }
    return {
        file: "\n".join(f"[{title}]\n{make()}\n" for title, make in section.items())
        for file, section in sections.items()
    }


@pytest.mark.parametrize("file", ["fans.txt", "errors.txt"])
def test_the_text_is_as_written(file):
    """What a user reads changes only on purpose."""
    assert _texts()[file] == (HERE / file).read_text(encoding="utf-8")


def test_every_error_has_four_beats_in_four_lines():
    """What, where, what was found, the way out; each short enough for a terminal."""
    for call in ERRORS.values():
        lines = str(_error(call)).splitlines()
        assert [line[:9] for line in lines[1:]] == ["  where: ", "  found: ", "  fix:   "]


if __name__ == "__main__":
    for file, text in _texts().items():
        (HERE / file).write_text(text, encoding="utf-8")
