"""Residual streams: which weights write into them, in which order, and how they are normalized."""

import pytest
import torch
from tests.oracles.trace_models import Model, parameter, rows, sites, tokens, writers
from torch import nn
from torch.nn import functional

F = functional
WIDTH = 6


def branch():
    return {"up": nn.Linear(WIDTH, 8), "down": nn.Linear(8, WIDTH)}


def f(m, x):
    """The branch: of a model, or of one block of it."""
    up, down = (m["up"], m["down"]) if isinstance(m, nn.ModuleDict) else (m.up, m.down)
    return down(F.relu(up(x)))


WAYS = {
    "x + f(x)": lambda m, x: x + f(m, x),
    "f(x) + x": lambda m, x: f(m, x) + x,
    "x += f(x)": lambda m, x: x.clone().add_(f(m, x)),
    "f(x) += x": lambda m, x: f(m, x).add_(x),
    "torch.add": lambda m, x: torch.add(x, f(m, x)),
    "torch.add, alpha": lambda m, x: torch.add(x, f(m, x), alpha=0.5),
    "x + alpha f(x)": lambda m, x: x + 0.1 * f(m, x),
    "alpha x + f(x)": lambda m, x: 1.5 * x + f(m, x),
    "(x + f(x)) / sqrt 2": lambda m, x: (x + f(m, x)) * 0.7071,
    "x - f(x)": lambda m, x: x - f(m, x),
    "f(x) - x": lambda m, x: f(m, x) - x,
    "x - alpha f(x)": lambda m, x: x.sub(f(m, x), alpha=0.1),
    "sum of a list": lambda m, x: sum([x, f(m, x)]),
    "addcmul": lambda m, x: torch.addcmul(x, f(m, x), torch.full((WIDTH,), 0.1)),
    "dropout": lambda m, x: x + F.dropout(f(m, x), 0.1, training=True),
    "stochastic depth": lambda m, x: x + f(m, x) * torch.ones(x.shape[0], 1).bernoulli_(0.8) / 0.8,
    "the branch cast": lambda m, x: x + f(m, x).double().float(),
    "the stream in double": lambda m, x: (x.double() + f(m, x)).float(),
    "a view of the stream": lambda m, x: (x.view(-1, 2, 3) + f(m, x).view(-1, 2, 3)).flatten(1),
    "through a transpose": lambda m, x: (x.t() + f(m, x).t()).t(),
    "addmm, fused": lambda m, x: torch.addmm(x, F.relu(m.up(x)), m.down.weight.t()),
    "masked tokens": lambda m, x: x + f(m, x).masked_fill(torch.eye(3, WIDTH) > 0, 0.0),
    "where": lambda m, x: torch.where(torch.eye(3, WIDTH) > 0, x, x + f(m, x)),
    "half of each": lambda m, x: 0.5 * x + 0.5 * f(m, x),
    "lerp": lambda m, x: torch.lerp(x, f(m, x), 0.5),
    "written into a slice": lambda m, x: written(x, f(m, x)),
}


def written(x, y):
    out = x.clone()
    out[:, 1:] += y[:, 1:]
    return out


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_last_weight_of_the_branch_writes_however_it_is_added(way):
    """In place, fused, scaled, dropped, cast or subtracted: it is the same stream."""
    model = Model(
        lambda m, x: m.head(way(m, m.stem(x))),
        **branch(),
        stem=nn.Linear(4, WIDTH),
        head=nn.Linear(WIDTH, 2),
    )
    found = sites(model, rows(3, 4))
    assert {n: s.role for n, s in found.items() if n.endswith("weight")} == {
        "up.weight": "weight", "down.weight": "residual_out", "stem.weight": "weight",
        "head.weight": "readout",
    }  # fmt: skip
    place = found["down.weight"].residual
    assert (place.index, place.count, place.level, place.norm) == (1, 1, 0, "none")


def test_a_stream_may_begin_at_the_input():
    """A residual net without a stem."""
    found = sites(Model(lambda m, x: x + f(m, x), **branch()), rows(3, WIDTH))
    assert found["down.weight"].role == "residual_out"
    assert found["up.weight"].role == "weight"


def test_a_branch_of_one_weight_writes():
    """``x + W x``, as in linear residual nets; the weight reads and writes."""
    assert writers(Model(lambda m, x: x + m.a(x), a=nn.Linear(6, 6)), rows(3, 6)) == ["a.weight"]
    with_norm = Model(lambda m, x: x + m.a(m.n(x)), a=nn.Linear(6, 6), n=nn.LayerNorm(6))
    assert writers(with_norm, rows(3, 6)) == ["a.weight"]


def test_a_branch_that_ends_in_an_activation_has_no_writer():
    """``x + relu(W x)`` is not linear in W's output: W's scale is not the branch's."""
    model = Model(lambda m, x: x + F.relu(m.a(x)), a=nn.Linear(6, 6))
    assert writers(model, rows(3, 6)) == []


def test_an_activation_after_the_sum_does_not_end_the_stream():
    """ResNet v1: relu(x + f(x)), block after block."""

    def run(m, x):
        for up, down in zip(m.ups, m.downs, strict=True):
            x = F.relu(x + down(F.relu(up(x))))
        return m.head(x)

    model = Model(
        run, ups=nn.ModuleList(nn.Linear(6, 8) for _ in range(3)),
        downs=nn.ModuleList(nn.Linear(8, 6) for _ in range(3)), head=nn.Linear(6, 2),
    )  # fmt: skip
    assert writers(model, rows(3, 6)) == [f"downs.{i}.weight" for i in range(3)]
    found = sites(model, rows(3, 6))
    assert found["head.weight"].activation == "relu"


# --- places in a stream ---------------------------------------------------------------------------


def stack(depth, norm="pre"):
    def block(m, x, i):
        if norm == "pre":
            return x + f(m.blocks[i], m.norms[i](x))
        if norm == "post":
            return m.norms[i](x + f(m.blocks[i], x))
        if norm == "sandwich":
            return x + m.others[i](f(m.blocks[i], m.norms[i](x)))
        return x + f(m.blocks[i], x)

    def run(m, x):
        x = m.stem(x)
        for i in range(depth):
            x = block(m, x, i)
        return m.head(x)

    return Model(
        run, stem=nn.Linear(4, WIDTH), head=nn.Linear(WIDTH, 2),
        blocks=nn.ModuleList(nn.ModuleDict(branch()) for _ in range(depth)),
        norms=nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth)),
        others=nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth)),
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["none", "pre", "post", "sandwich"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_each_branch_has_its_index_and_all_know_the_count(depth, norm):
    """The first is 1; every branch of one stream has the same number of the stream."""
    found = sites(stack(depth, norm), rows(3, 4))
    places = [found[f"blocks.{i}.down.weight"].residual for i in range(depth)]
    assert [place.index for place in places] == list(range(1, depth + 1))
    assert {place.count for place in places} == {depth}
    assert {place.stream for place in places} == {0}
    assert {place.level for place in places} == {0}


EXPECTED = {"none": "none", "pre": "pre", "post": "post", "sandwich": "pre"}


@pytest.mark.parametrize(("norm", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_where_the_norm_stands_is_told(norm, expected):
    """Before the branch, after the sum, or nowhere."""
    found = sites(stack(3, norm), rows(3, 4))
    assert {found[f"blocks.{i}.down.weight"].residual.norm for i in range(3)} == {expected}
    assert found["blocks.0.down.weight"].normalized_output == (norm == "sandwich")
    assert found["blocks.1.up.weight"].normalized_input == (norm != "none")
    assert found["norms.0.weight"].role == "norm_scale"


def test_a_final_norm_does_not_make_a_stream_post_norm():
    """GPT-2 normalizes once before the head, and its branches read through norms."""
    model = stack(2, "pre")
    inner = model.run
    model.final = nn.LayerNorm(2)
    model.run = lambda m, x: m.final(inner(m, x))
    found = sites(model, rows(3, 4))
    assert {found[f"blocks.{i}.down.weight"].residual.norm for i in range(2)} == {"pre"}


def test_a_final_norm_alone_is_a_post_norm_of_the_last_sum_only():
    """Branches without norm, one norm at the end."""

    def run(m, x):
        x = m.stem(x)
        for block in m.blocks:
            x = x + f(block, x)
        return m.head(m.norm(x))

    model = Model(
        run, stem=nn.Linear(4, 6), head=nn.Linear(6, 2), norm=nn.LayerNorm(6),
        blocks=nn.ModuleList(nn.ModuleDict(branch()) for _ in range(3)),
    )  # fmt: skip
    found = sites(model, rows(3, 4))
    assert [found[f"blocks.{i}.down.weight"].residual.norm for i in range(3)][:2] == [
        "none",
        "none",
    ]


def test_the_batch_norm_at_the_end_of_a_branch_is_seen():
    """ResNet v1: conv, norm, relu, conv, norm, sum; the writer's own std has no effect."""

    def run(m, x):
        h = F.relu(m.n1(m.c1(x)))
        return F.relu(x + m.n2(m.c2(h)))

    model = Model(
        run, c1=nn.Conv2d(4, 4, 3, padding=1), c2=nn.Conv2d(4, 4, 3, padding=1),
        n1=nn.BatchNorm2d(4), n2=nn.BatchNorm2d(4),
    )  # fmt: skip
    found = sites(model, rows(2, 4, 5, 5))
    assert writers(model, rows(2, 4, 5, 5)) == ["c2.weight"]
    assert (found["c1.weight"].normalized_output, found["c2.weight"].normalized_output) == (
        True,
        True,
    )
    assert found["c2.weight"].residual.norm == "none"
    assert found["n2.weight"].role == "norm_scale"


# --- parallel branches ----------------------------------------------------------------------------

ORDERS = {
    "x + (a + b)": lambda x, a, b: x + (a + b),
    "(x + a) + b": lambda x, a, b: x + a + b,
    "a + b + x": lambda x, a, b: a + b + x,
    "a + (b + x)": lambda x, a, b: a + (b + x),
    "b + (x + a)": lambda x, a, b: b + (x + a),
    "(a + x) + b": lambda x, a, b: (a + x) + b,
    "sum": lambda x, a, b: sum((a, x, b)),
    "in place": lambda x, a, b: x.clone().add_(a).add_(b),
    "halves": lambda x, a, b: x + 0.5 * (a + b),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_parallel_branches_are_two_in_every_order_of_adding(order):
    """GPT-J, NeoX, PaLM: attention and feed-forward read the same norm."""

    def run(m, x):
        h = m.norm(x)
        a = m.o(torch.tanh(m.v(h)))
        b = m.down(F.gelu(m.up(h)))
        return m.head(order(x, a, b))

    model = Model(
        run, norm=nn.LayerNorm(6), v=nn.Linear(6, 6), o=nn.Linear(6, 6), up=nn.Linear(6, 8),
        down=nn.Linear(8, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert writers(model, rows(3, 6)) == ["o.weight", "down.weight"]
    places = [found["o.weight"].residual, found["down.weight"].residual]
    assert {place.count for place in places} == {2}
    assert sorted(place.index for place in places) == [1, 2]
    assert {place.norm for place in places} == {"pre"}


def test_parallel_branches_of_several_blocks_go_on_counting():
    """Two blocks of two: indices 1 to 4."""

    def run(m, x):
        for block in m.blocks:
            x = x + (block["a"](torch.tanh(block["b"](x))) + block["c"](torch.tanh(block["d"](x))))
        return m.head(x)

    def block():
        return nn.ModuleDict({name: nn.Linear(6, 6) for name in "abcd"})

    model = Model(run, blocks=nn.ModuleList([block(), block()]), head=nn.Linear(6, 2))
    found = sites(model, rows(3, 6))
    places = [found[f"blocks.{i}.{n}.weight"].residual for i in range(2) for n in "ac"]
    assert sorted(place.index for place in places) == [1, 2, 3, 4]
    assert {place.count for place in places} == {4}


def test_every_weight_of_a_branch_knows_the_innermost_branch_that_it_is_in():
    """Not only the writer; and what stands outside of branches has none."""

    def run(m, x):
        x = m.stem(x)
        h = m.enter(x)
        h = h + f(m.inner, h)
        x = x + m.leave(torch.tanh(h))
        return m.head(x)

    model = Model(
        run, stem=nn.Linear(4, 6), enter=nn.Linear(6, 6), inner=nn.ModuleDict(branch()),
        leave=nn.Linear(6, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(3, 4))
    levels = {
        name.removesuffix(".weight"): site.branch and site.branch.level
        for name, site in found.items()
        if name.endswith("weight")
    }
    assert levels == {
        "stem": None, "enter": 0, "inner.up": 1, "inner.down": 1, "leave": 0, "head": None,
    }  # fmt: skip
    assert found["inner.down.weight"].branch == found["inner.down.weight"].residual


# --- scales ---------------------------------------------------------------------------------------

SCALES = {
    "a vector": (lambda m, x, y: x + m.s * y, (6,)),
    "a vector, behind": (lambda m, x, y: x + y * m.s, (6,)),
    "a scalar": (lambda m, x, y: x + m.s * y, ()),
    "a scalar of one entry": (lambda m, x, y: x + m.s * y, (1,)),
    "in place": (lambda m, x, y: x + y.mul_(m.s), (6,)),
    "addcmul": (lambda m, x, y: torch.addcmul(x, y, m.s), (6,)),
    "and a constant": (lambda m, x, y: x + 0.5 * m.s * y, (6,)),
    "tanh of it": (lambda m, x, y: x + torch.tanh(m.s) * y, ()),
}


@pytest.mark.parametrize(("way", "shape"), SCALES.values(), ids=SCALES)
def test_a_learned_scale_of_a_branch_is_named(way, shape):
    """LayerScale, SkipInit, ReZero: the writer knows what multiplies it."""
    model = Model(
        lambda m, x: m.head(way(m, x, f(m, x))),
        s=parameter(*shape),
        **branch(),
        head=nn.Linear(6, 2),
    )
    found = sites(model, rows(3, 6))
    assert found["s"].role == "branch_scale"
    assert found["down.weight"].residual.scaled_by == ("s",)
    assert found["s"].residual == found["down.weight"].residual
    assert found["s"].uses == 1


def test_a_scale_of_the_stream_is_elementwise():
    """``alpha x + f(x)``: a learned skip is not a branch's scale."""
    model = Model(
        lambda m, x: m.head(m.s * x + f(m, x)), s=parameter(6), **branch(), head=nn.Linear(6, 2)
    )
    found = sites(model, rows(3, 6))
    assert found["s"].role == "elementwise"
    assert found["down.weight"].residual.scaled_by == ()


def test_a_norm_scale_at_the_end_of_a_branch_is_no_branch_scale():
    """The last gamma of a ResNet block is a norm's, zeroed or not."""
    model = Model(lambda m, x: x + m.n(m.down(F.relu(m.up(x)))), **branch(), n=nn.BatchNorm1d(6))
    nn.init.zeros_(model.n.weight)
    found = sites(model, rows(3, 6))
    assert (found["n.weight"].role, found["n.weight"].built) == ("norm_scale", "zeros")
    assert found["down.weight"].residual.scaled_by == ()
    assert found["down.weight"].normalized_output


# --- shortcuts ------------------------------------------------------------------------------------


def test_a_projection_on_the_skip_path_is_a_shortcut():
    """ResNet's downsample: one weight where the width changes, deeper on the branch."""

    def run(m, x):
        return m.head(m.short(x) + m.down(F.relu(m.up(x))))

    for order in (run, lambda m, x: m.head(m.down(F.relu(m.up(x))) + m.short(x))):
        model = Model(
            order,
            short=nn.Linear(6, 5),
            up=nn.Linear(6, 8),
            down=nn.Linear(8, 5),
            head=nn.Linear(5, 2),
        )
        found = sites(model, rows(3, 6))
        assert (found["short.weight"].role, found["down.weight"].role) == (
            "shortcut",
            "residual_out",
        )
        assert found["short.weight"].residual.index == found["down.weight"].residual.index == 1


def test_a_shortcut_goes_on_with_the_stream():
    """Blocks before and after the downsampling are branches of one stream."""

    def block(m, x):
        skip = m["short"](x) if "short" in m else x
        return F.relu(skip + m["down"](F.relu(m["up"](x))))

    def make(wide, out):
        parts = {"up": nn.Linear(wide, 8), "down": nn.Linear(8, out)}
        return nn.ModuleDict(parts | ({"short": nn.Linear(wide, out)} if wide != out else {}))

    def run(m, x):
        for one in m.blocks:
            x = block(one, x)
        return m.head(x)

    model = Model(
        run, blocks=nn.ModuleList([make(6, 6), make(6, 5), make(5, 5)]), head=nn.Linear(5, 2)
    )
    found = sites(model, rows(3, 6))
    places = [found[f"blocks.{i}.down.weight"].residual for i in range(3)]
    assert [(p.stream, p.index, p.count) for p in places] == [(0, 1, 3), (0, 2, 3), (0, 3, 3)]
    assert found["blocks.1.short.weight"].role == "shortcut"


@pytest.mark.parametrize("before", ["pre", "post"])
def test_a_block_with_a_projection_has_its_norm_where_the_others_have_it(before):
    """ResNet v2 normalizes before the block and its shortcut; v1 inside the block."""

    def block(wide, out):
        parts = {"n1": nn.BatchNorm1d(wide if before == "pre" else out), "up": nn.Linear(wide, out)}
        parts |= {"n2": nn.BatchNorm1d(out), "down": nn.Linear(out, out)}
        return nn.ModuleDict(parts | ({"short": nn.Linear(wide, out)} if wide != out else {}))

    def v2(m, x):
        h = F.relu(m["n1"](x))
        return (m["short"](h) if "short" in m else x) + m["down"](F.relu(m["n2"](m["up"](h))))

    def v1(m, x):
        h = m["n2"](m["down"](F.relu(m["n1"](m["up"](x)))))
        return F.relu((m["short"](x) if "short" in m else x) + h)

    def run(m, x):
        x = m.stem(x)
        for one in m.blocks:
            x = v2(one, x) if before == "pre" else v1(one, x)
        return m.head(x)

    blocks = nn.ModuleList([block(4, 4), block(4, 6), block(6, 6), block(6, 8)])
    found = sites(Model(run, blocks=blocks, stem=nn.Linear(3, 4), head=nn.Linear(8, 2)), rows(5, 3))
    places = [found[f"blocks.{i}.down.weight"].residual for i in range(4)]
    assert [place.index for place in places] == [1, 2, 3, 4]
    assert {place.norm for place in places} == {"pre" if before == "pre" else "none"}
    assert found["blocks.1.short.weight"].residual.norm == places[0].norm


def test_a_pooled_and_padded_skip_is_an_identity():
    """ResNet option A: subsample and pad with zeros, no weight."""

    def run(m, x):
        skip = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        return m.head(skip + m.down(F.relu(m.up(x))))

    model = Model(
        run, up=nn.Conv2d(4, 6, 3, padding=1, stride=2), down=nn.Conv2d(6, 6, 3, padding=1),
        head=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    assert writers(model, rows(2, 4, 8, 8)) == ["down.weight"]


def test_a_branch_that_turns_its_axes_writes_when_it_is_turned_back():
    """MLP-Mixer mixes tokens on the transpose, ConvNeXt works channels last inside."""

    def mixer(m, x):
        return m.head(x + m.down(F.gelu(m.up(m.norm(x).transpose(1, 2)))).transpose(1, 2))

    model = Model(
        mixer, up=nn.Linear(5, 7), down=nn.Linear(7, 5), norm=nn.LayerNorm(6), head=nn.Linear(6, 2)
    )
    found = sites(model, rows(2, 5, 6))
    assert (found["down.weight"].role, found["down.weight"].residual.norm) == (
        "residual_out",
        "pre",
    )

    def convnext(m, x):
        h = m.norm(m.mix(x).permute(0, 2, 1))
        h = m.scale * m.down(F.gelu(m.up(h)))
        return m.head(x + h.permute(0, 2, 1))

    model = Model(
        convnext, mix=nn.Conv1d(6, 6, 3, padding=1, groups=6), up=nn.Linear(6, 8),
        down=nn.Linear(8, 6), norm=nn.LayerNorm(6), scale=parameter(6, value=1e-6),
        head=nn.Conv1d(6, 2, 1),
    )  # fmt: skip
    found = sites(model, rows(2, 6, 9))
    assert found["down.weight"].residual.scaled_by == ("scale",)
    assert (found["scale"].role, found["scale"].built) == ("branch_scale", "constant 1e-06")
    assert found["mix.weight"].normalized_output


def test_a_slice_of_the_stream_is_the_stream():
    """A class token that attends to all (CaiT), and the halves of a reversible net."""
    token = Model(
        lambda m, x: m.head(x[:, :1] + m.o(torch.tanh(m.v(x)).mean(1, keepdim=True))),
        v=nn.Linear(6, 6), o=nn.Linear(6, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    assert writers(token, rows(2, 4, 6)) == ["o.weight"]

    def run(m, x):
        a, b = m.stem(x).chunk(2, -1)
        a = a + f(m.first, b)
        b = b + f(m.second, a)
        return m.head(torch.cat([a, b], -1))

    halves = Model(
        run, stem=nn.Linear(4, 12), first=nn.ModuleDict(branch()), second=nn.ModuleDict(branch()),
        head=nn.Linear(12, 2),
    )  # fmt: skip
    assert writers(halves, rows(3, 4)) == ["first.down.weight", "second.down.weight"]


def test_a_skip_over_the_stem_reaches_the_raw_input():
    """Super-resolution: the net computes what is to be added to its input."""

    def run(m, x):
        h = m.stem(x)
        h = h + m.down(F.relu(m.up(h)))
        return x + m.tail(h)

    model = Model(
        run, **branch(), stem=nn.Linear(6, 6), tail=nn.Linear(6, 6),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert writers(model, rows(3, 6)) == ["down.weight", "tail.weight"]
    assert found["tail.weight"].residual.level == 0
    assert found["down.weight"].residual.level == 1


# --- nesting --------------------------------------------------------------------------------------


def test_streams_inside_branches_are_one_level_deeper():
    """RRDB: dense blocks with a residual each, in a block with a residual, in a net with one."""

    def dense(m, x):
        return x + 0.2 * m["down"](F.relu(m["up"](x)))

    def group(m, x):
        h = x
        for one in m:
            h = dense(one, h)
        return x + 0.2 * h

    def run(m, x):
        h = x
        for one in m.groups:
            h = group(one, h)
        return x + m.tail(h)

    def make():
        return nn.ModuleList(nn.ModuleDict(branch()) for _ in range(2))

    model = Model(run, groups=nn.ModuleList([make(), make()]), tail=nn.Linear(6, 6))
    found = sites(model, rows(3, 6))
    levels = {n: s.residual.level for n, s in found.items() if s.role == "residual_out"}
    assert levels["tail.weight"] == 0
    inner = [level for name, level in levels.items() if name.startswith("groups")]
    assert len(inner) == 4
    assert min(inner) >= 1
    assert len(set(inner)) == 1


def test_streams_that_follow_one_another_have_numbers():
    """An encoder's and a decoder's."""

    def run(m, x):
        x = x + f(m.first, x)
        x = torch.tanh(m.middle(x))
        x = x + f(m.second, x)
        return m.head(x)

    model = Model(
        run, first=nn.ModuleDict(branch()), second=nn.ModuleDict(branch()),
        middle=nn.Linear(6, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    places = [found[f"{n}.down.weight"].residual for n in ("first", "second")]
    assert [(p.stream, p.index, p.count) for p in places] == [(0, 1, 1), (1, 1, 1)]


def unet(join):
    def run(m, x):
        skip = F.relu(m.enter(x))
        h = F.relu(m.inner(F.avg_pool2d(skip, 2)))
        h = F.interpolate(m.up(h), scale_factor=2)
        return m.head(F.relu(m.leave(join(h, skip))))

    wide = 8 if join is concatenated else 4
    return Model(
        run, enter=nn.Conv2d(3, 4, 3, padding=1), inner=nn.Conv2d(4, 4, 3, padding=1),
        up=nn.Conv2d(4, 4, 1), leave=nn.Conv2d(wide, 4, 3, padding=1), head=nn.Conv2d(4, 2, 1),
    )  # fmt: skip


def concatenated(h, skip):
    return torch.cat([skip, h], 1)


def added(h, skip):
    return skip + h


def test_a_u_net_that_adds_its_skips_has_a_stream():
    """The whole inner net is a branch; its last weight writes."""
    found = sites(unet(added), rows(2, 3, 8, 8))
    assert found["up.weight"].role == "residual_out"
    assert found["inner.weight"].role == "weight"
    assert found["leave.weight"].join == "add"


def test_a_u_net_that_concatenates_its_skips_has_none():
    """Nothing is added; the two halves arrive side by side."""
    model = unet(concatenated)
    assert writers(model, rows(2, 3, 8, 8)) == []
    found = sites(model, rows(2, 3, 8, 8))["leave.weight"]
    assert (found.join, set(found.sources)) == ("concatenate", {"enter.weight", "up.weight"})


def test_a_u_net_with_residual_blocks_inside_counts_them_apart():
    """Streams of the encoder, of the inner net and of the decoder."""

    def res(m, x):
        return x + m["down"](F.relu(m["up"](x)))

    def make():
        return nn.ModuleDict({"up": nn.Conv2d(4, 4, 1), "down": nn.Conv2d(4, 4, 1)})

    def run(m, x):
        skip = res(m.a, m.stem(x))
        h = F.interpolate(res(m.b, m.deeper(F.avg_pool2d(skip, 2))), scale_factor=2)
        return m.head(res(m.c, m.join(torch.cat([skip, h], 1))))

    model = Model(
        run, a=make(), b=make(), c=make(), stem=nn.Conv2d(3, 4, 1), deeper=nn.Conv2d(4, 4, 1),
        join=nn.Conv2d(8, 4, 1), head=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    assert writers(model, rows(2, 3, 8, 8)) == ["a.down.weight", "b.down.weight", "c.down.weight"]
    found = sites(model, rows(2, 3, 8, 8))
    assert [found[f"{n}.down.weight"].residual.count for n in "abc"] == [1, 1, 1]
    assert len({found[f"{n}.down.weight"].residual.stream for n in "abc"}) == 3


def test_a_densenet_has_no_stream():
    """Every layer reads all before it, side by side."""

    def run(m, x):
        for layer in m.layers:
            x = torch.cat([x, layer(F.relu(x))], -1)
        return m.head(x)

    model = Model(
        run, layers=nn.ModuleList(nn.Linear(4 + 3 * i, 3) for i in range(3)), head=nn.Linear(13, 2)
    )
    found = sites(model, rows(3, 4))
    assert writers(model, rows(3, 4)) == []
    assert found["head.weight"].join == "concatenate"


# --- what is no stream ----------------------------------------------------------------------------


def test_the_sum_of_two_layers_of_one_input_is_no_stream():
    """Neither is the other's skip path; both are summands."""
    model = Model(
        lambda m, x: m.c(F.relu(m.a(x) + m.b(x))),
        a=nn.Linear(6, 8), b=nn.Linear(6, 8), c=nn.Linear(8, 2),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert writers(model, rows(3, 6)) == []
    assert (found["a.weight"].summands, found["b.weight"].summands) == (2, 2)
    assert (found["c.weight"].summands, found["c.weight"].join) == (1, "add")
    assert found["a.weight"].residual is None


def test_a_product_of_two_outputs_is_one_term_of_a_sum():
    """FiLM: ``scale(c) * a(x) + shift(c)`` has two terms."""
    model = Model(
        lambda m, x, c: m.head(F.relu(m.scale(c) * m.a(x) + m.shift(c))),
        a=nn.Linear(6, 8), scale=nn.Linear(4, 8), shift=nn.Linear(4, 8), head=nn.Linear(8, 2),
    )  # fmt: skip
    batch = (rows(3, 6), rows(3, 4))
    found = sites(model, batch)
    assert [found[f"{n}.weight"].summands for n in ("a", "scale", "shift")] == [2, 2, 2]
    assert writers(model, batch) == []


def test_the_sum_of_layers_of_two_inputs_is_no_stream():
    """Three of them: three summands, in any bracketing."""
    for add in (lambda a, b, c: a + b + c, lambda a, b, c: a + (b + c), lambda *terms: sum(terms)):
        model = Model(
            lambda m, x, y, z, add=add: m.d(add(m.a(x), m.b(y), m.c(z))),
            a=nn.Linear(6, 8), b=nn.Linear(6, 8), c=nn.Linear(6, 8), d=nn.Linear(8, 2),
        )  # fmt: skip
        batch = (rows(3, 6),) * 3
        found = sites(model, batch)
        assert writers(model, batch) == []
        assert [found[f"{n}.weight"].summands for n in "abc"] == [3, 3, 3]


def test_token_and_position_embeddings_added_are_no_stream():
    """BERT's three tables, and a learned position parameter."""

    def run(m, ids):
        places = torch.arange(ids.shape[1])
        return m.head(m.words(ids) + m.places(places) + m.kinds(torch.zeros_like(ids)))

    model = Model(
        run, words=nn.Embedding(10, 6), places=nn.Embedding(5, 6), kinds=nn.Embedding(2, 6),
        head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, tokens(2, 5))
    assert writers(model, tokens(2, 5)) == []
    assert [found[f"{n}.weight"].role for n in ("words", "places", "kinds")] == ["embedding"] * 3
    assert [found[f"{n}.weight"].summands for n in ("words", "places", "kinds")] == [3, 3, 3]


def test_a_position_parameter_that_is_added_is_elementwise():
    """ViT: one parameter for all positions, and a class token in front."""

    def run(m, x):
        h = torch.cat([m.cls.expand(x.shape[0], -1, -1), m.stem(x)], 1) + m.places
        return m.head(h[:, 0])

    model = Model(
        run, stem=nn.Linear(4, 6), cls=parameter(1, 1, 6), places=parameter(1, 4, 6),
        head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(2, 3, 4))
    assert (found["cls"].role, found["places"].role) == ("elementwise", "elementwise")
    assert (found["cls"].uses, found["places"].uses) == (1, 1)
    assert writers(model, rows(2, 3, 4)) == []


def test_a_mask_that_is_added_is_no_stream():
    """A constant, or one computed from the input."""
    runs = (
        lambda m, x: m.b(torch.tanh(m.a(x)) + torch.zeros(3, 8)),
        lambda m, x: m.b(torch.tanh(m.a(x)) + (x.sum(-1, keepdim=True) > 0) * -1e9),
    )
    for run in runs:
        model = Model(run, a=nn.Linear(6, 8), b=nn.Linear(8, 2))
        assert writers(model, rows(3, 6)) == []


def test_noise_that_is_added_is_no_stream():
    """A variational bottleneck: mean + exp(log std) * noise."""

    def run(m, x):
        h = torch.tanh(m.a(x))
        return m.decode(m.mean(h) + torch.exp(0.5 * m.log(h)) * torch.randn(3, 4))

    model = Model(
        run, a=nn.Linear(6, 8), mean=nn.Linear(8, 4), log=nn.Linear(8, 4), decode=nn.Linear(4, 6)
    )
    assert writers(model, rows(3, 6)) == []


def test_rotary_positions_are_no_stream():
    """``x cos + rotate(x) sin`` is a sum of two moved copies."""

    def run(m, x):
        q = m.q(x)
        turned = torch.cat([-q[..., 3:], q[..., :3]], -1)
        return m.head(q * torch.full((6,), 0.5) + turned * torch.full((6,), 0.8))

    model = Model(run, q=nn.Linear(6, 6), head=nn.Linear(6, 2))
    found = sites(model, rows(3, 6))
    assert writers(model, rows(3, 6)) == []
    assert found["q.weight"].summands == 1


def test_a_highway_gate_is_no_stream():
    """``t h + (1 - t) x``: the gate decides between the two, nothing is added to a stream."""
    runs = (
        lambda t, h, x: t * h + (1 - t) * x,
        lambda t, h, x: x * (1 - t) + h * t,
    )
    for mix in runs:
        model = Model(
            lambda m, x, mix=mix: m.head(mix(torch.sigmoid(m.t(x)), F.relu(m.h(x)), x)),
            t=nn.Linear(6, 6), h=nn.Linear(6, 6), head=nn.Linear(6, 2),
        )  # fmt: skip
        assert writers(model, rows(3, 6)) == []


def test_a_gated_mixture_of_two_linear_maps_is_no_stream():
    """The same where the candidate has no activation of its own."""
    model = Model(
        lambda m, x: m.head((t := torch.sigmoid(m.t(x))) * m.h(x) + (1 - t) * x),
        t=nn.Linear(6, 6), h=nn.Linear(6, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    assert writers(model, rows(3, 6)) == []


def test_the_mean_that_a_norm_subtracts_is_no_branch():
    """``x - mean(x)``, by hand, is linear in x and no sum of two signals."""
    model = Model(
        lambda m, x: m.head((h := m.stem(x)) - h.mean(-1, keepdim=True)),
        stem=nn.Linear(6, 6), head=nn.Linear(6, 2),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert writers(model, rows(3, 6)) == []
    assert found["head.weight"].sources == ("stem.weight",)


def test_a_squeezed_and_excited_branch_writes_through_its_factor():
    """SE-ResNet: ``x + s(h) h``; the last convolution writes, the factor's weights do not."""

    def run(m, x):
        h = m.conv(x)
        s = torch.sigmoid(m.expand(F.relu(m.squeeze(h.mean((2, 3), keepdim=True)))))
        return x + h * s

    model = Model(
        run,
        conv=nn.Conv2d(4, 4, 3, padding=1),
        squeeze=nn.Conv2d(4, 2, 1),
        expand=nn.Conv2d(2, 4, 1),
    )
    assert writers(model, rows(2, 4, 5, 5)) == ["conv.weight"]


def test_a_condition_added_inside_a_branch_is_no_writer():
    """Diffusion: the time embedding is added to the first convolution's output."""

    def run(m, x, t):
        h = m.first(F.silu(m.n1(x)))
        h = h + m.time(F.silu(t))[:, :, None]
        return x + m.second(F.silu(m.n2(h)))

    model = Model(
        run, first=nn.Conv1d(4, 4, 3, padding=1), second=nn.Conv1d(4, 4, 3, padding=1),
        time=nn.Linear(5, 4), n1=nn.GroupNorm(2, 4), n2=nn.GroupNorm(2, 4),
    )  # fmt: skip
    found = sites(model, (rows(2, 4, 9), rows(2, 5)))
    assert writers(model, (rows(2, 4, 9), rows(2, 5))) == ["second.weight"]
    assert (found["first.weight"].summands, found["time.weight"].summands) == (2, 2)


def test_a_graph_convolution_with_a_root_weight_is_no_stream():
    """SAGE: one weight for the neighbours' mean, one for the node itself."""

    def run(m, x, edges):
        mean = edges @ x / edges.sum(-1, keepdim=True)
        return m.head(F.relu(m.neighbours(mean) + m.root(x)))

    model = Model(run, neighbours=nn.Linear(6, 8), root=nn.Linear(6, 8), head=nn.Linear(8, 2))
    batch = (rows(4, 6), torch.ones(4, 4))
    assert writers(model, batch) == []
    assert sites(model, batch)["root.weight"].summands == 2


def test_a_multi_scale_sum_of_several_readouts_is_no_stream():
    """FCN: predictions of several depths are added up."""

    def run(m, x):
        a = F.relu(m.a(x))
        b = F.relu(m.b(a))
        return m.from_a(a) + m.from_b(b)

    model = Model(
        run, a=nn.Linear(6, 6), b=nn.Linear(6, 6), from_a=nn.Linear(6, 2), from_b=nn.Linear(6, 2)
    )
    found = sites(model, rows(3, 6))
    assert found["from_b.weight"].role in ("readout", "residual_out")


def test_gpt2_has_exactly_the_two_projections_of_each_block_as_writers():
    """The issue's own example, in small: attention and feed-forward, pre-norm, tied head."""

    def run(m, ids):
        h = m.wte(ids) + m.wpe(torch.arange(ids.shape[1]))
        for block in m.blocks:
            q, k, v = block["c_attn"](block["ln_1"](h)).split(12, -1)
            h = h + block["attn_proj"](F.scaled_dot_product_attention(q, k, v))
            h = h + block["mlp_proj"](F.gelu(block["c_fc"](block["ln_2"](h)), approximate="tanh"))
        return m.ln_f(h) @ m.wte.weight.t()

    shapes = {"c_attn": (12, 36), "attn_proj": (12, 12), "c_fc": (12, 48), "mlp_proj": (48, 12)}

    def block():
        layers = {name: nn.Linear(*shape) for name, shape in shapes.items()}
        return nn.ModuleDict({"ln_1": nn.LayerNorm(12), "ln_2": nn.LayerNorm(12)} | layers)

    model = Model(
        run, wte=nn.Embedding(10, 12), wpe=nn.Embedding(5, 12), ln_f=nn.LayerNorm(12),
        blocks=nn.ModuleList([block(), block()]),
    )  # fmt: skip
    found = sites(model, tokens(2, 5))
    assert writers(model, tokens(2, 5)) == [
        f"blocks.{i}.{n}.weight" for i in range(2) for n in ("attn_proj", "mlp_proj")
    ]
    places = [found[name].residual for name in writers(model, tokens(2, 5))]
    assert [p.index for p in places] == [1, 2, 3, 4]
    assert {(p.count, p.norm, p.level, p.stream) for p in places} == {(4, "pre", 0, 0)}
    assert found["blocks.0.mlp_proj.weight"].activation == "gelu(tanh)"
    assert found["blocks.0.c_attn.weight"].role == "query_key_value"
    assert found["wte.weight"].role == "embedding"
    assert found["wte.weight"].other_roles == ("readout",)
