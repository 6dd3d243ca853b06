"""How an operation is written makes no difference to what its parameters are found to do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.trace_models import Model, rows, sites
from torch import nn
from torch.nn import functional

F = functional
WIDTH = 4
POINTS = torch.linspace(-3, 3, 13, dtype=torch.float64)

SPELLINGS = {
    "linear": {
        "module": lambda p, x: p(x),
        "functional": lambda p, x: F.linear(x, p.weight, p.bias),
        "matmul": lambda p, x: x @ p.weight.t() + p.bias,
        "matmul in place": lambda p, x: (x @ p.weight.T).add_(p.bias),
        "addmm": lambda p, x: torch.addmm(p.bias, x, p.weight.t()),
        "einsum": lambda p, x: torch.einsum("bi,oi->bo", x, p.weight) + p.bias,
        "a 1x1 convolution": lambda p, x: (
            F.conv1d(x[..., None], p.weight[..., None], p.bias)[..., 0]
        ),
        "an axis more": lambda p, x: p(x[:, None])[:, 0],
        "transposed": lambda p, x: (p.weight @ x.t()).t() + p.bias,
        "cast": lambda p, x: F.linear(x.double(), p.weight.double(), p.bias.double()).float(),
        "a copy of the weight": lambda p, x: F.linear(x, p.weight.clone().contiguous(), p.bias),
        "out": lambda p, x: torch.add(x @ p.weight.t(), p.bias, out=torch.empty(3, WIDTH)),
    },
    "relu": {
        "function": lambda p, x: F.relu(x),
        "in place": lambda p, x: x.clone().relu_(),
        "clamp": lambda p, x: x.clamp(min=0),
        "maximum": lambda p, x: torch.maximum(x, torch.zeros(())),
        "where": lambda p, x: torch.where(x > 0, x, 0.0),
        "a view": lambda p, x: F.relu(x.reshape(-1)).view(3, WIDTH),
    },
    "silu": {
        "function": lambda p, x: F.silu(x),
        "by hand": lambda p, x: x * torch.sigmoid(x),
        "by division": lambda p, x: x / (1 + torch.exp(-x)),
    },
    "norm": {
        "module": lambda p, x: p(x),
        "functional": lambda p, x: F.layer_norm(x, (WIDTH,), p.weight, p.bias),
        "by hand": lambda p, x: (
            (x - x.mean(-1, keepdim=True))
            / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * p.weight + p.bias
        ),
    },
    "gated": {
        "gate first": lambda p, x: F.silu(p[0](x)) * p[1](x),
        "value first": lambda p, x: p[1](x) * F.silu(p[0](x)),
        "by hand": lambda p, x: (g := p[0](x)) * torch.sigmoid(g) * p[1](x),
        "in place": lambda p, x: F.silu(p[0](x)).mul_(p[1](x)),
        "double": lambda p, x: (F.silu(p[0](x).double()) * p[1](x).double()).float(),
    },
    "sum": {
        "plus": lambda x, y: x + y,
        "the other way": lambda x, y: y + x,
        "in place": lambda x, y: x.clone().add_(y),
        "onto the branch": lambda x, y: y.clone().add_(x),
        "torch.add": torch.add,
        "dropped": lambda x, y: x + F.dropout(y, 0.5, training=True),
        "scaled": lambda x, y: x + 0.5 * y,
        "double": lambda x, y: (x.double() + y).float(),
    },
}  # fmt: skip
PARTS = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "norm": lambda: nn.LayerNorm(WIDTH),
    "gated": lambda: nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2)),
}


def built(kinds):
    """The parts of a program: a list of steps, or of steps inside a branch."""
    return nn.ModuleList(
        built(kind) if isinstance(kind, tuple) else PARTS.get(kind, nn.Identity)() for kind in kinds
    )


def program(kinds, choose):
    """The same steps, each in a spelling that ``choose`` picks."""

    def steps(parts, kinds, x):
        for part, kind in zip(parts, kinds, strict=True):
            if isinstance(kind, tuple):
                x = choose("sum")(x, steps(part, kind, x))
            else:
                x = choose(kind)(part, x)
        return x

    return lambda m, x: m.head(steps(m.parts, kinds, m.stem(x)))


simple = st.sampled_from(["linear", "relu", "silu", "norm", "gated"])


def branch_of(steps):
    return ("linear", *steps, "linear")


branches = st.lists(simple, min_size=1, max_size=3).map(branch_of)
nested = st.lists(simple | branches, min_size=1, max_size=3).map(branch_of)
programs = st.lists(simple | branches | nested, min_size=1, max_size=4)


def facts(site, field):
    """A field's value; in which order the sources ran is a matter of spelling."""
    value = getattr(site, field)
    if field == "sources":
        return set(value)
    # An activation without a name is known by its values.
    return value(POINTS).round(decimals=9).tolist() if callable(value) else value


def differences(found, expected):
    """What differs, in few words."""
    return [
        (name, field, getattr(found[name], field), getattr(site, field))
        for name, site in expected.items()
        for field in site.__dataclass_fields__
        if facts(found[name], field) != facts(site, field)
    ]


@settings(max_examples=60)
@given(programs, st.data())
def test_any_mixture_of_spellings_has_the_sites_of_the_plain_one(kinds, data):
    """Random nets with residual branches, written plainly and in any way that is the same."""

    def any_spelling(kind):
        return SPELLINGS[kind][data.draw(st.sampled_from(sorted(SPELLINGS[kind])), kind)]

    def plain(kind):
        return next(iter(SPELLINGS[kind].values()))

    parts = {"parts": built(kinds), "stem": nn.Linear(5, WIDTH), "head": nn.Linear(WIDTH, 2)}
    expected = sites(Model(program(kinds, plain), **parts), rows(3, 5), training=False)
    found = sites(Model(program(kinds, any_spelling), **parts), rows(3, 5), training=False)
    assert differences(found, expected) == []


def streams_of(kinds, at="parts", level=0):
    """The writers of each stream and its level, in the order of the sums.

    A weight ends a stream, activations and norms do not; inner streams are summed up first.
    """
    current = []
    found = []
    for i, kind in enumerate(kinds):
        if isinstance(kind, tuple):
            found += streams_of(kind, f"{at}.{i}", level + 1)
            if not current:
                found.append((level, current))
            current.append(f"{at}.{i}.{len(kind) - 1}.weight")
        elif kind in ("linear", "gated"):
            current = []
    return found


@settings(max_examples=40)
@given(programs)
def test_the_writers_of_a_random_net_are_the_last_weights_of_its_branches(kinds):
    """In the order and number in which the program adds them, and no others."""

    def plain(kind):
        return next(iter(SPELLINGS[kind].values()))

    parts = {"parts": built(kinds), "stem": nn.Linear(5, WIDTH), "head": nn.Linear(WIDTH, 2)}
    found = sites(Model(program(kinds, plain), **parts), rows(3, 5), training=False)
    expected = {
        name: (number, level, index, len(stream))
        for number, (level, stream) in enumerate(streams_of(kinds))
        for index, name in enumerate(stream, 1)
    }
    places = {n: s.residual for n, s in found.items() if s.role == "residual_out"}
    assert {n: (r.stream, r.level, r.index, r.count) for n, r in places.items()} == expected


@pytest.mark.parametrize(
    ("kind", "spelling"), [(k, s) for k in SPELLINGS for s in SPELLINGS[k]], ids=str
)
def test_each_spelling_alone_has_the_sites_of_the_plain_one(kind, spelling):
    """In a net that has everything around it."""
    kinds = [
        "linear",
        "norm",
        ("linear", "silu", "linear"),
        "relu",
        ("norm", "gated", "linear"),
        ("norm", "linear", "relu", "linear"),
    ]
    parts = {"parts": built(kinds), "stem": nn.Linear(5, WIDTH), "head": nn.Linear(WIDTH, 2)}

    def chosen(one):
        return SPELLINGS[one][spelling] if one == kind else next(iter(SPELLINGS[one].values()))

    def plain(one):
        return next(iter(SPELLINGS[one].values()))

    expected = sites(Model(program(kinds, plain), **parts), rows(3, 5))
    found = sites(Model(program(kinds, chosen), **parts), rows(3, 5))
    assert differences(found, expected) == []


def test_modules_that_do_nothing_change_nothing():
    """Identity, dropout, flatten and containers around the layers."""
    plain = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    padded = nn.Sequential(
        nn.Sequential(nn.Identity(), plain[0]), nn.Flatten(1), nn.Dropout(0.3), nn.ReLU(),
        nn.Sequential(nn.Sequential(plain[2]), nn.Identity()),
    )  # fmt: skip
    for training in (False, True):
        one = sites(plain, rows(3, 5), training=training)
        other = sites(padded, rows(3, 5), training=training)
        facts = [
            (s.role, s.layout, s.activation, s.activation_after, s.depth, s.plain_depth, s.uses)
            for s in one.values()
        ]
        assert facts == [
            (s.role, s.layout, s.activation, s.activation_after, s.depth, s.plain_depth, s.uses)
            for s in other.values()
        ]


def test_memory_that_is_used_again_is_not_taken_for_what_was_there():
    """Freed tensors give their addresses to later ones, in a loop of many steps."""

    def run(m, x):
        total = torch.zeros(3, 4)
        for _ in range(50):
            total = total + torch.tanh(m.a(x)).sum()
        return m.b(total * 0 + x[:, :4])

    found = sites(Model(run, a=nn.Linear(5, 4), b=nn.Linear(4, 2)), rows(3, 5))
    assert found["a.weight"].uses == 50
    assert found["b.weight"].role == "readout"


def test_a_buffer_that_is_written_again_and_again_holds_what_was_written_last():
    """One memory, several values in turn."""

    def run(m, x):
        out = torch.empty(3, 4)
        out.copy_(m.a(x))
        h = m.b(F.relu(out))
        out.copy_(m.c(x))
        return m.d(torch.tanh(out) + h)

    model = Model(run, a=nn.Linear(5, 4), b=nn.Linear(4, 4), c=nn.Linear(5, 4), d=nn.Linear(4, 2))
    found = sites(model, rows(3, 5))
    assert (found["b.weight"].sources, found["b.weight"].activation) == (("a.weight",), "relu")
    assert set(found["d.weight"].sources) == {"b.weight", "c.weight"}


def test_parts_that_are_written_into_one_memory_are_both_there():
    """A preallocated concatenation."""

    def run(m, x):
        out = torch.empty(3, 8)
        out[:, :4] = m.a(x)
        out[:, 4:] = m.b(x)
        return m.c(out)

    model = Model(run, a=nn.Linear(5, 4), b=nn.Linear(5, 4), c=nn.Linear(8, 2))
    found = sites(model, rows(3, 5))
    assert set(found["c.weight"].sources) == {"a.weight", "b.weight"}
    assert [found[f"{n}.weight"].role for n in "abc"] == ["weight", "weight", "readout"]


def test_a_view_sees_what_is_written_through_another():
    """relu_ on a half, then the whole is read."""

    def run(m, x):
        h = m.a(x)
        h[:, :2].relu_()
        return m.b(h)

    found = sites(Model(run, a=nn.Linear(5, 4), b=nn.Linear(4, 2)), rows(3, 5))
    assert found["b.weight"].sources == ("a.weight",)
    assert found["a.weight"].role == "weight"
