"""The small nets of the tasks: ordinary torch modules, started by torch until a start is given."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

__all__ = ["Lstm", "Mlp", "PlainConv", "ResidualConv", "ResidualMlp", "Siren", "Transformer"]

Activation = Callable[[Tensor], Tensor]


class Mlp(nn.Module):
    """Linear, activation and so on; ``widths`` from the input to the output."""

    def __init__(self, widths: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, out]."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class ResidualMlp(nn.Module):
    """x <- x + second(relu(first(x))), ``blocks`` times, without any norm."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, 10]."""
        x = self.stem(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.relu(first(x)))
        return self.head(x)


class PlainConv(nn.Module):
    """A stem of stride 2, then 3x3 convolutions; flattened or averaged, then Linear."""

    def __init__(self, depth: int, channels: int, *, average: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth - 2)
        )
        self.average = average
        self.head = nn.Linear(channels * (1 if average else 49), 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, 10] of images [batch, 196]."""
        x = F.relu(self.stem(x.view(-1, 1, 14, 14)))
        for conv in self.convs:
            x = F.relu(conv(x))
        x = x.mean((2, 3)) if self.average else x.flatten(1)
        return self.head(x)


class ResidualConv(nn.Module):
    """x <- relu(x + second(relu(first(x)))), with or without batch norm after each convolution."""

    def __init__(self, blocks: int, channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=not batch_norm)

        def convs() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm)
                for _ in range(blocks)
            )

        def norms(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.BatchNorm2d(channels, track_running_stats=False) if batch_norm else nn.Identity()
                for _ in range(count)
            )

        self.first, self.second = convs(), convs()
        self.stem_norm, self.first_norm, self.second_norm = norms(1), norms(blocks), norms(blocks)
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, 10] of images [batch, 196]."""
        x = F.relu(self.stem_norm[0](self.stem(x.view(-1, 1, 14, 14))))
        parts = zip(self.first, self.first_norm, self.second, self.second_norm, strict=True)
        for first, first_norm, second, second_norm in parts:
            branch = second_norm(second(F.relu(first_norm(first(x)))))
            x = F.relu(x + branch)
        return self.head(x.mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, *, pre_norm: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads, self.pre_norm = heads, pre_norm

    def _attend(self, x: Tensor) -> Tensor:
        packed = F.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in packed.chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        ahead = torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(ahead, -math.inf).softmax(-1) @ v
        out = self.attention.out_proj
        return F.linear(mixed.transpose(-3, -2).flatten(-2), out.weight, out.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre_norm:
            x = x + self._attend(self.norm1(x))
            return x + self.down(F.gelu(self.up(self.norm2(x))))
        x = self.norm1(x + self._attend(x))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Transformer(nn.Module):
    """A causal character model with learned positions."""

    def __init__(
        self, tokens: int, width: int, blocks: int, context: int, *, pre_norm: bool, tied: bool
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(_Block(width, 4, pre_norm=pre_norm) for _ in range(blocks))
        self.norm = nn.LayerNorm(width) if pre_norm else nn.Identity()
        self.head = nn.Linear(width, tokens, bias=False)
        self.tied = tied

    def forward(self, text: Tensor) -> Tensor:
        """Logits [batch, tokens, time] of the next characters."""
        x = self.token(text) + self.position.weight
        for block in self.blocks:
            x = block(x)
        weight = self.token.weight if self.tied else self.head.weight
        return F.linear(self.norm(x), weight).transpose(1, 2)


class Lstm(nn.Module):
    """One LSTM over the rows of an image; the last state is read out."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.rows = rows
        self.lstm = nn.LSTM(rows, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, 10] of images [batch, rows * rows]."""
        lstm = self.lstm
        inputs = F.linear(x.unflatten(1, (self.rows, self.rows)), lstm.weight_ih_l0)
        inputs = inputs + lstm.bias_ih_l0 + lstm.bias_hh_l0
        state = inputs.new_zeros(len(x), self.head.in_features)
        cell = state
        for step in range(self.rows):
            gates = inputs[:, step] + F.linear(state, lstm.weight_hh_l0)
            i, f, g, o = gates.chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
        return self.head(state)


class Siren(nn.Module):
    """sin(30 (W x + b)) layers, with the start of their authors."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        sizes = (1, *[width] * (hidden + 1), 1)
        pairs = pairwise(sizes)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Values [points, 1] at places [points, 1]."""
        for layer in self.layers[:-1]:
            x = torch.sin(30 * layer(x))
        return self.layers[-1](x)
