"""Tracing: what one look at a model costs, against one forward pass, and without memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

import fanin
from timing import Row, interleaved

__all__ = ["ratios", "without_memory"]

LLAMA_70B = {
    "width": 8192, "layers": 80, "heads": 64, "pairs": 8, "hidden": 28_672, "words": 128_256,
}  # fmt: skip
"""Llama 3, 70B: `pairs` heads of keys and values are shared by all queries."""


class Block(nn.Module):
    """Pre-norm attention and a gated feed-forward, as Llama has them."""

    def __init__(self, width: int, heads: int, pairs: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.pairs, self.size = heads, pairs, width // heads
        self.norm, self.other_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, pairs * self.size, bias=False)
        self.value = nn.Linear(width, pairs * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.out(self.attend(self.norm(x), turns))
        h = self.other_norm(x)
        return x.add(self.down(functional.silu(self.gate(h)) * self.up(h)))

    def attend(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        q = rotated(self.split(self.query(x), self.heads), turns)
        k = rotated(self.split(self.key(x), self.pairs), turns)
        v = self.split(self.value(x), self.pairs)
        k, v = (one.repeat_interleave(self.heads // self.pairs, 1) for one in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)

    def split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:2], heads, self.size).transpose(1, 2)


def rotated(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * turns[0] + torch.cat([-right, left], -1) * turns[1]


class Decoder(nn.Module):
    """Tokens to logits."""

    def __init__(
        self, width: int, layers: int, heads: int, pairs: int, hidden: int, words: int
    ) -> None:
        super().__init__()
        self.size = width // heads
        self.table = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width, heads, pairs, hidden) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, words, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        pace = 10_000 ** (-torch.arange(0, self.size, 2, device=tokens.device) / self.size)
        angles = torch.outer(places, pace).repeat(1, 2)
        x = self.table(tokens)
        for block in self.blocks:
            x = block(x, (angles.cos(), angles.sin()))
        return cast("Tensor", self.head(self.norm(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norms, and a sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm, self.other_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm(self.first(x)))
        return functional.relu(x + self.other_norm(self.second(h)))


def convolutional() -> nn.Module:
    """48 convolutions in 24 residual blocks, a stem and a readout: 50 weights."""
    stem = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    body = [Residual(32) for _ in range(24)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def perceptron() -> nn.Module:
    """30 layers of 256, tanh between them."""
    return nn.Sequential(*[layer for _ in range(30) for layer in (nn.Linear(256, 256), nn.Tanh())])


def transformer(width: int) -> nn.Module:
    """12 layers, as wide as asked."""
    return Decoder(width, layers=12, heads=4, pairs=4, hidden=4 * width, words=1000)


def cases() -> dict[str, tuple[nn.Module, Tensor]]:
    """Models by description, each with its batch."""
    tokens = partial(torch.randint, 1000)
    return {
        "transformer, 12 layers of 256, batch 4 x 64": (transformer(256), tokens((4, 64))),
        "transformer, 12 layers of 16, batch 1 x 4": (transformer(16), tokens((1, 4))),
        "convolutional, 50 layers of 32, batch 4 x 32 x 32": (
            convolutional(), torch.randn(4, 3, 32, 32),
        ),
        "perceptron, 30 layers of 256, batch 64": (perceptron(), torch.randn(64, 256)),
    }  # fmt: skip


def ratios(*, quick: bool) -> list[Row]:
    """One trace against one forward pass without gradients, in turn, in evaluation mode."""
    rows: list[Row] = []
    for name, (model, batch) in cases().items():
        model.eval()
        seconds = interleaved(
            torch.no_grad()(partial(model, batch)),
            partial(fanin.trace, model, batch),
            3 if quick else 15,
        )
        rows.append(
            {
                "model": name,
                "operations": fanin.trace(model, batch).operations,
                "forward, ms": seconds[0] * 1e3,
                "trace, ms": seconds[1] * 1e3,
                "trace / forward": seconds[2],
            }
        )
    return rows


MEASURED = """
import json, resource, time
import torch
import fanin, tracing
with torch.device("meta"):
    model = tracing.Decoder(**(tracing.LLAMA_70B{changes}))
tokens = torch.zeros(1, 128, dtype=torch.long)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
sites = fanin.trace(model, tokens)
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
writers = sum(site.role == "residual_out" for site in sites)
numbers = sum(parameter.numel() for parameter in model.parameters())
print(json.dumps([numbers, len(sites), writers, seconds, before, after]))
"""


def without_memory(*, quick: bool) -> list[Row]:
    """A Llama of 70B parameters (8 of 80 layers when quick) on the meta device, in a process."""
    changes = " | {'layers': 8}" if quick else ""
    numbers, sites, writers, seconds, before, after = in_a_process(MEASURED.format(changes=changes))
    return [
        {
            "parameters": f"{numbers / 1e9:.1f} billion",
            "sites": sites,
            "residual writers": writers,
            "trace, s": seconds,
            "peak of the process before, MB": before / 1e3,
            "and after, MB": after / 1e3,
        }
    ]


def in_a_process(code: str) -> list[float]:
    """What the code prints, as JSON, in a process whose peak memory is its own."""
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    here = Path(__file__).parent
    done = run([sys.executable, "-c", code], cwd=here, check=True, capture_output=True, text=True)
    return cast("list[float]", json.loads(done.stdout))
