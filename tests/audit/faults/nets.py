"""Small models to be broken, each with a batch and, where it has one, a target."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = [
    "Case", "adapted", "decoder", "factorization", "frozen", "gru", "language_model", "lstm",
    "machine", "plain", "plain_conv", "plain_norm", "positioned", "pretrained_text", "residual",
    "upscaler", "variational",
]  # fmt: skip

INPUTS, CLASSES, WIDTH = 20, 10, 64


@dataclass(frozen=True)
class Case:
    """A model that runs on a batch, and what it is to predict."""

    model: nn.Module
    batch: Tensor | tuple[Tensor, ...]
    target: Tensor | None = None
    loss: Callable[..., Tensor] | None = None


def _classes(batch: Tensor) -> Tensor:
    return torch.arange(len(batch)) % CLASSES


def plain(
    depth: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    width: int = WIDTH,
    count: int = 64,
) -> Case:
    """``depth`` hidden layers, each linear and activation, and a readout: "0", "2", "4", ..."""
    sizes = [INPUTS] + depth * [width]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    batch = torch.randn(count, INPUTS)
    return Case(nn.Sequential(*layers, nn.Linear(width, CLASSES)), batch, _classes(batch))


def plain_norm(depth: int, *, skip: bool = False) -> Case:
    """``depth`` layers of linear, batch norm, ReLU, and a readout."""
    first = [nn.Linear(INPUTS, WIDTH)]
    body: list[nn.Module] = []
    for _ in range(depth):
        layers = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())
        body += [Around(layers)] if skip else list(layers)
    batch = torch.randn(256, INPUTS)
    return Case(nn.Sequential(*first, *body, nn.Linear(WIDTH, CLASSES)), batch, _classes(batch))


class Around(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Block(nn.Module):
    """x + scale down(act(up(norm(x))))."""

    def __init__(self, width: int, *, norm: bool, scale: float | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)
        self.scale = None if scale is None else nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.down(torch.relu(self.up(self.norm(x))))
        return x + (branch if self.scale is None else self.scale * branch)


class ResidualNet(nn.Module):
    """A stem, blocks, and a readout."""

    def __init__(self, depth: int, *, norm: bool, scale: float | None = None) -> None:
        super().__init__()
        self.stem = nn.Linear(INPUTS, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, norm=norm, scale=scale) for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def residual(depth: int, *, norm: bool, scale: float | None = None) -> Case:
    """A residual net of ``depth`` blocks."""
    batch = torch.randn(64, INPUTS)
    return Case(ResidualNet(depth, norm=norm, scale=scale), batch, _classes(batch))


def plain_conv(depth: int) -> Case:
    """Depthwise and pointwise convolutions in turn, without norms."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 32, 1), nn.ReLU()]
    batch = torch.randn(8, 3, 8, 8)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))
    return Case(model, batch, _classes(batch))


def decoder() -> Case:
    """From 8 numbers to a picture, by transposed convolutions of stride 2."""
    layers: list[nn.Module] = [nn.Linear(8, 8 * 16), nn.Unflatten(1, (8, 4, 4))]
    for before, after in ((8, 16), (16, 32), (32, 32)):
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    batch = torch.randn(16, 8)
    model = nn.Sequential(*layers, nn.Conv2d(32, 3, 1))
    return Case(model, batch, torch.randn(16, 3, 32, 32))


def upscaler() -> Case:
    """Three transposed convolutions of stride 2 and as many channels."""
    layers = [nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1) for _ in range(3)]
    body = [layer for one in layers for layer in (one, nn.ReLU())]
    return Case(nn.Sequential(*body[:-1]), torch.randn(16, 32, 4, 4))


class Adapter(nn.Module):
    """A frozen layer, and two narrow ones beside it, the second of zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(requires_grad=False)
        self.a, self.b = nn.Linear(inputs, 4, bias=False), nn.Linear(4, outputs, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.b(self.a(x))


def adapted() -> Case:
    """Four adapted layers and an adapted readout."""
    sizes = [INPUTS, *(4 * [WIDTH]), CLASSES]
    layers = [layer for pair in pairwise(sizes) for layer in (Adapter(*pair), nn.ReLU())]
    batch = torch.randn(64, INPUTS)
    return Case(nn.Sequential(*layers[:-1]), batch, _classes(batch))


class Attention(nn.Module):
    """Self-attention of one tensor for each of query, key, value and output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (4, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, *, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        if not self.skip:
            return self.attention(self.norm1(x))
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


VOCABULARY = 40


class Transformer(nn.Module):
    def __init__(self, depth: int, *, skip: bool, tied: bool, padding: int | None) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH, padding_idx=padding)
        self.blocks = nn.ModuleList(TransformerBlock(WIDTH, skip=skip) for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def language_model(
    depth: int = 4, *, skip: bool = True, tied: bool = False, padding: int | None = None
) -> Case:
    """Tokens, pre-norm blocks of attention and feed-forward, logits."""
    model = Transformer(depth, skip=skip, tied=tied, padding=padding)
    ids = torch.randint(1, VOCABULARY, (16, 24))
    return Case(model, ids, torch.randint(1, VOCABULARY, (16, 24)))


class Positioned(nn.Module):
    """Patches and positions, blocks, a mean, a readout."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.project = nn.Linear(INPUTS, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 9, WIDTH))
        self.blocks = nn.ModuleList(TransformerBlock(WIDTH, skip=True) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def positioned() -> Case:
    """A small Vision Transformer behind its patches."""
    batch = torch.randn(32, 9, INPUTS)
    return Case(Positioned(4), batch, _classes(batch))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 32)
        self.lstm = nn.LSTM(32, 32, batch_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.tokens(ids))[0])


def lstm() -> Case:
    """Tokens, an LSTM, a class for each."""
    ids = torch.randint(0, VOCABULARY, (16, 12))
    return Case(Tagger(), ids, torch.randint(0, CLASSES, (16, 12)))


def gru() -> Case:
    """A GRU of two layers in both directions, read at all steps."""
    net = nn.ModuleDict({"gru": nn.GRU(12, 16, 2, bidirectional=True, batch_first=True)})
    net["head"] = nn.Linear(32, CLASSES)
    batch = torch.randn(32, 9, 12)
    return Case(Read(net), batch, _classes(batch))


class Read(nn.Module):
    def __init__(self, parts: nn.ModuleDict) -> None:
        super().__init__()
        self.gru, self.head = parts["gru"], parts["head"]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0].mean(1))


class Factors(nn.Module):
    """<user, item>, two tables, and with ``biases`` two more."""

    def __init__(self, *, biases: bool) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(60, 16), nn.Embedding(80, 16)
        if biases:
            self.user_bias, self.item_bias = nn.Embedding(60, 1), nn.Embedding(80, 1)
        self.biases = biases

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        found = (self.user(user) * self.item(item)).sum(-1)
        if not self.biases:
            return found
        return found + self.user_bias(user).squeeze(-1) + self.item_bias(item).squeeze(-1)


def factorization(*, biases: bool = False) -> Case:
    """Ratings of users and items, of a start that gives them std 1."""
    model = Factors(biases=biases)
    for name, table in model.named_parameters():
        nn.init.normal_(table, 0, 0.1 if "bias" in name else 0.5)
    batch = (torch.randint(60, (128,)), torch.randint(80, (128,)))
    return Case(model, batch, torch.randn(128))


class Machine(nn.Module):
    """Rendle 2010, Factorization machines: half the square of a sum less the sum of squares."""

    def __init__(self) -> None:
        super().__init__()
        self.factors, self.linear = nn.Embedding(90, 8), nn.Embedding(90, 1)
        nn.init.normal_(self.factors.weight, 0, 0.2)
        nn.init.normal_(self.linear.weight, 0, 0.1)

    def forward(self, ids: Tensor) -> Tensor:
        one = self.factors(ids)
        pairs = one.sum(1).square() - one.square().sum(1)
        return pairs.sum(1) / 2 + self.linear(ids).sum((1, 2))


def machine() -> Case:
    """Ten features of each input, which meet in pairs."""
    return Case(Machine(), torch.randint(90, (64, 10)), torch.randn(64))


class Variational(nn.Module):
    """Kingma & Welling 2014: a mean and a log-variance, a draw, an output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)
        self.decode = nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), nn.Linear(WIDTH, INPUTS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.body(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return self.decode(mean), mean, log_variance


def evidence_bound(result: tuple[Tensor, Tensor, Tensor], wanted: Tensor) -> Tensor:
    output, mean, log_variance = result
    divergence = log_variance.exp() + mean.square() - 1 - log_variance
    return (output - wanted).square().mean() + divergence.sum(-1).mean() / 2


def variational() -> Case:
    """An autoencoder whose loss has the exponential of an output."""
    batch = torch.randn(64, INPUTS)
    return Case(Variational(), batch, batch, evidence_bound)


def frozen() -> Case:
    """Six layers of which all but the readout are kept as they are."""
    case = plain(6)
    for name, parameter in case.model.named_parameters():
        parameter.requires_grad_(name.startswith("12."))
    return case


def pretrained_text() -> Case:
    """A language model of tied tables, whose blocks are kept as they are."""
    case = language_model(tied=True)
    for name, parameter in case.model.named_parameters():
        parameter.requires_grad_(not name.startswith("blocks"))
    return case
