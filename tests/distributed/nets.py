"""Nets with everything a start can be about, and their plans."""

from functools import cache

import torch
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin.initializers import (
    ICNR,
    Chrono,
    Constant,
    Custom,
    DeltaOrthogonal,
    ForgetGate,
    Hadamard,
    Identity,
    LooksLinear,
    Normal,
    Ones,
    Orthogonal,
    PriorProbability,
    ScaledOutputs,
    Sparse,
    Uniform,
    VarianceScaling,
    Zeros,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    xavier_normal,
    xavier_uniform,
)

SEED = 5
TOKENS = torch.arange(12).reshape(3, 4)


class Turn(nn.Module):
    """A learned scale that is not 1, and a buffer that is in no file: both from its own reset."""

    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))
        self.register_buffer("angles", torch.empty(width), persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.constant_(self.scale, 0.25)
        with torch.no_grad():
            self.angles.copy_(torch.arange(len(self.angles)).cos())

    def forward(self, x):
        return x + self.scale * (x * self.angles)


class Net(nn.Module):
    """A tied table with a padding row, a wide pair, a norm, batch norm, a convolution, an LSTM."""

    def __init__(self, width=8, hidden=32, words=24):
        super().__init__()
        self.table = nn.Embedding(words, width, padding_idx=2)
        self.turn = Turn(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)
        self.square = nn.Linear(width, width)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.own = nn.Linear(width, width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        x = self.turn(self.table(tokens))
        x = x + self.down(torch.relu(self.up(self.norm(x))))
        x = self.batch_norm(self.conv(self.square(x).transpose(1, 2))).transpose(1, 2)
        return self.head(self.own(self.lstm(x)[0]))


EVEN = {"width": 8, "hidden": 32, "words": 24}
UNEVEN = {"width": 9, "hidden": 33, "words": 25}


def by_hand(tensor, layout):
    """A user's function that draws from torch's generator."""
    nn.init.uniform_(tensor, -0.1, 0.1)


def even():
    return Net(**EVEN)


def uneven():
    return Net(**UNEVEN)


LINEAR = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant(0.25),
    "uniform": Uniform(-0.3, 0.2),
    "normal": Normal(0.02),
    "cut": Normal(0.02, 0.1, cut=2),
    "scaling_in": VarianceScaling("gelu"),
    "scaling_out": VarianceScaling(2.0, fan="out", distribution="uniform"),
    "scaling_average": VarianceScaling(fan="avg", cut=2),
    "scaling_geometric": VarianceScaling("relu", fan="geometric"),
    "kaiming_normal": kaiming_normal(),
    "kaiming_uniform": kaiming_uniform(),
    "lecun_normal": lecun_normal(),
    "lecun_uniform": lecun_uniform(),
    "xavier_normal": xavier_normal(),
    "xavier_uniform": xavier_uniform(),
    "orthogonal": Orthogonal(),
    "hadamard": Hadamard(),
    "identity": Identity(),
    "looks_linear": LooksLinear(),
    "sparse": Sparse(4),
    "scaled_outputs": ScaledOutputs(Normal(0.1), tuple(1 + i / 18 for i in range(18))),
    "by_hand": Custom(by_hand),
}
CONVOLUTION = {
    "delta_orthogonal": DeltaOrthogonal(),
    "icnr": ICNR(kaiming_normal(), 3),
    "dirac": Identity(),
    "conv_orthogonal": Orthogonal(),
    "conv_sparse": Sparse(4),
    "conv_normal": kaiming_normal(fan="out"),
}
GATES = {"chrono": Chrono(20), "forget_gate": ForgetGate(2.0)}
NOT_EXACT = ("orthogonal", "looks_linear", "square")
"""Products of matrices: what holds one of these words is compared to 1e-6."""


class Every(nn.Module):
    """A layer for each initializer; 18 outputs: not for every world the same number in each."""

    def __init__(self):
        super().__init__()
        self.linear = nn.ModuleDict({name: nn.Linear(10, 18) for name in LINEAR})
        self.conv = nn.ModuleDict({name: nn.Conv1d(10, 18, 3) for name in CONVOLUTION})
        self.lstm = nn.ModuleDict({name: nn.LSTM(10, 9) for name in GATES})
        self.detector = nn.Linear(18, 7)

    def forward(self, x):
        rows = sum(layer(x) for layer in self.linear.values())
        lines = x[:, :, None].expand(-1, -1, 3)
        rows = rows + sum(layer(lines)[:, :, 0] for layer in self.conv.values())
        steps = torch.cat([layer(x[None])[0][0] for layer in self.lstm.values()], 1)
        return self.detector(rows + steps)


def planned_every():
    plan = fanin.plan(Every(), torch.randn(3, 10), recipe=fanin.recipes.kaiming)
    return plan.replace(
        {f"linear.{name}.weight": value for name, value in LINEAR.items()}
        | {f"conv.{name}.weight": value for name, value in CONVOLUTION.items()}
        | {f"lstm.{name}.bias_ih_l0": value for name, value in GATES.items()}
        | {"detector.bias": PriorProbability(0.01), "linear.*.bias": Uniform(-1, 1)}
    )


class Experts(nn.Module):
    """As many matrices as experts, in one parameter."""

    def __init__(self, experts, width, hidden):
        super().__init__()
        self.up = nn.Parameter(torch.randn(experts, hidden, width))
        self.down = nn.Parameter(torch.randn(experts, width, hidden))

    def forward(self, x):
        inner = torch.relu(torch.bmm(x, self.up.transpose(1, 2)))
        return torch.bmm(inner, self.down.transpose(1, 2))


class Mixture(nn.Module):
    """A dense layer, a router and experts; each expert gets all rows here."""

    def __init__(self, experts=6, width=8, hidden=16):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.router = nn.Linear(width, experts)
        self.experts = Experts(experts, width, hidden)
        self.last = nn.Linear(width, width)

    def forward(self, x):
        x = self.first(x)
        shares = self.router(x).softmax(-1).T[:, :, None]
        return self.last((shares * self.experts(x.expand(len(shares), -1, -1))).sum(0))


def planned_mixture():
    plan = fanin.plan(Mixture(), torch.randn(5, 8))
    return plan.replace({"experts.down": Orthogonal()})


def normed():
    """Weights behind parametrizations: a length and a direction for each output."""
    first = parametrizations.weight_norm(nn.Linear(10, 18))
    conv = parametrizations.weight_norm(nn.Conv1d(1, 7, 3), dim=1)
    return nn.Sequential(first, nn.ReLU(), nn.Unflatten(1, (1, 18)), conv)


def planned_normed():
    return fanin.plan(normed(), torch.randn(3, 10))


def planned_net(make):
    plan = fanin.plan(make(), TOKENS, recipe=fanin.recipes.steady)
    return plan.replace({"square.weight": Orthogonal(), "own.weight": Custom(by_hand)})


_PLANS = {
    even: lambda: planned_net(even),
    uneven: lambda: planned_net(uneven),
    Every: planned_every,
    Mixture: planned_mixture,
    normed: planned_normed,
}


@cache
def planned(make):
    """The plan of a net."""
    return _PLANS[make]()


def on_meta(make):
    with torch.device("meta"):
        return make()


def failing_once():
    """Code of the user's that fails, and when it is called again does not."""
    calls = []

    def draw(tensor, layout):
        calls.append(0)
        if len(calls) == 1:
            raise RuntimeError("no")
        tensor.fill_(0.5)

    return Custom(draw)
