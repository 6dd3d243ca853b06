"""How often a parameter ran, in which mode, and what stands for one that did not."""

import torch
from tests.oracles.trace_models import Model, parameter, roles, rows, sites, tokens, uses
from torch import nn
from torch.nn import functional

from fanin import trace

F = functional


def test_a_shared_layer_counts_each_of_its_runs():
    """ALBERT: one block, run again and again."""

    def run(m, x):
        for _ in range(4):
            x = x + m.down(F.relu(m.up(m.norm(x))))
        return m.head(x)

    model = Model(
        run, up=nn.Linear(6, 8), down=nn.Linear(8, 6), norm=nn.LayerNorm(6), head=nn.Linear(6, 2)
    )
    found = sites(model, rows(3, 6))
    assert {n: s.uses for n, s in found.items()} == {
        "up.weight": 4, "up.bias": 4, "down.weight": 4, "down.bias": 4, "norm.weight": 4,
        "norm.bias": 4, "head.weight": 1, "head.bias": 1,
    }  # fmt: skip
    assert found["down.weight"].residual.count == 4
    assert found["down.weight"].depth == 2


def test_two_towers_of_one_encoder_count_twice():
    """Siamese networks."""
    model = Model(
        lambda m, a, b: m.head(m.tower(a) - m.tower(b)), tower=nn.Linear(6, 8), head=nn.Linear(8, 1)
    )
    assert uses(model, (rows(3, 6), rows(3, 6))) == {
        "tower.weight": 2, "tower.bias": 2, "head.weight": 1, "head.bias": 1,
    }  # fmt: skip


def test_a_weight_in_a_loop_over_time_counts_each_step():
    """And is still one site with one layout."""

    def run(m, x):
        h = x.new_zeros(2, 4)
        for step in x:
            h = torch.tanh(m.w(torch.cat([step, h], -1)))
        return h

    assert uses(Model(run, w=nn.Linear(9, 4)), rows(5, 2, 5))["w.weight"] == 5


def test_a_parameter_that_never_ran_is_said_not_to_have_run():
    """In evaluation and in training mode."""
    model = Model(
        lambda m, x: m.a(x), a=nn.Linear(6, 3), idle=nn.Linear(4, 4), loose=parameter(3, 4, 5)
    )
    found = sites(model, rows(3, 6))
    for name in ("idle.weight", "idle.bias", "loose"):
        assert (found[name].uses, found[name].ran_in, found[name].depth) == (0, "never", 0)
        assert found[name].like == ""
    assert str(found["idle.weight"].layout) == "matrix product [out=4, in=4]"
    assert found["loose"].layout is None


def test_what_ran_only_on_constants_ran():
    """A parameter that is returned, or multiplied with a constant, is used."""
    model = Model(
        lambda m, x: (m.a(x), m.given, m.scaled * 2.0),
        a=nn.Linear(6, 3),
        given=parameter(4),
        scaled=parameter(4),
    )
    found = sites(model, rows(3, 6))
    assert found["scaled"].uses == 1
    assert found["given"].ran_in == "evaluation"


def test_an_expert_that_got_no_token_is_like_one_that_did():
    """The first expert takes all; the others have its shapes and names up to their number."""

    def run(m, x):
        return x + m.experts[0](x) + 0 * m.router(x).topk(1, -1).values

    def expert():
        return nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 6))

    model = Model(run, router=nn.Linear(6, 3), experts=nn.ModuleList(expert() for _ in range(3)))
    found = sites(model, rows(4, 6))
    for e in (1, 2):
        site, other = found[f"experts.{e}.2.weight"], found["experts.0.2.weight"]
        assert (site.like, site.ran_in, site.uses) == (other.name, "like another", 0)
        assert (site.role, site.residual, site.activation) == (other.role, other.residual, "silu")
        assert site.layout == other.layout
        assert found[f"experts.{e}.0.bias"].role == "bias"


def test_experts_with_gates_are_like_each_other_too():
    """Roles, blocks and activations are copied; names, dtypes and starts are their own."""

    class Expert(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.down = nn.Linear(6, 16), nn.Linear(8, 6)

        def forward(self, x):
            a, b = self.both(x).chunk(2, -1)
            return self.down(F.silu(a) * b)

    def run(m, x):
        return x + m.experts[1](x)

    model = Model(run, experts=nn.ModuleList(Expert() for _ in range(2)))
    nn.init.zeros_(model.experts[0].down.weight)
    model.experts[0].both.weight.requires_grad_(False)
    found = sites(model, rows(4, 6))
    site = found["experts.0.both.weight"]
    assert (site.role, site.like, site.trainable) == ("gated", "experts.1.both.weight", False)
    assert [b.name for b in site.layout.blocks] == ["gate", "value"]
    assert found["experts.0.down.weight"].built == "zeros"
    assert found["experts.1.down.weight"].built == ""


def test_a_sibling_of_another_shape_stands_for_nothing():
    """Same name up to numbers, but not the same layer."""
    model = Model(
        lambda m, x: m.layers[0](x), layers=nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 4)])
    )
    found = sites(model, rows(3, 6))
    assert (found["layers.1.weight"].like, found["layers.1.weight"].ran_in) == ("", "never")


# --- modes ----------------------------------------------------------------------------------------


def by_mode(m, x):
    h = m.trunk(x)
    return (m.head(h), m.auxiliary(h)) if m.training else m.head(h)


def test_a_path_of_training_alone_is_found_and_said_to_be_one():
    """Auxiliary heads: evaluation mode misses them, so training mode is looked at as well."""
    model = Model(by_mode, trunk=nn.Linear(6, 8), head=nn.Linear(8, 2), auxiliary=nn.Linear(8, 2))
    found = trace(model, rows(3, 6))
    assert found.mode == "evaluation and training"
    assert {site.name: site.ran_in for site in found if site.name.endswith("weight")} == {
        "trunk.weight": "evaluation", "head.weight": "evaluation", "auxiliary.weight": "training",
    }  # fmt: skip
    assert found["auxiliary.weight"].role == "readout"


def test_one_mode_alone_may_be_asked_for():
    """Then nothing else is run."""
    model = Model(by_mode, trunk=nn.Linear(6, 8), head=nn.Linear(8, 2), auxiliary=nn.Linear(8, 2))
    evaluation = trace(model, rows(3, 6), training=False)
    assert (evaluation.mode, evaluation["auxiliary.weight"].ran_in) == ("evaluation", "never")
    training = trace(model, rows(3, 6), training=True)
    assert (training.mode, training["auxiliary.weight"].ran_in) == ("training", "training")
    assert training["trunk.weight"].ran_in == "training"


def test_a_path_of_evaluation_alone_is_found():
    """Whatever runs in evaluation mode is described by it."""
    model = Model(
        lambda m, x: m.a(x) if m.training else m.b(x), a=nn.Linear(6, 3), b=nn.Linear(6, 3)
    )
    found = sites(model, rows(3, 6))
    assert (found["a.weight"].ran_in, found["b.weight"].ran_in) == ("training", "evaluation")


def test_a_model_that_cannot_train_on_the_batch_is_described_by_evaluation():
    """In training mode it wants targets."""

    def run(m, x, targets=None):
        if m.training and targets is None:
            raise ValueError("targets are required in training mode")
        return m.a(x)

    model = Model(run, a=nn.Linear(6, 3), idle=nn.Linear(2, 2))
    found = trace(model, rows(3, 6))
    assert (found.mode, found["idle.weight"].ran_in) == ("evaluation", "never")


def test_a_model_that_runs_whole_in_evaluation_is_not_run_again():
    """One run is enough, then."""
    runs = []

    def run(m, x):
        runs.append(m.training)
        return m.a(x)

    assert trace(Model(run, a=nn.Linear(6, 3)), rows(3, 6)).mode == "evaluation"
    assert runs == [False]


def test_layers_dropped_in_training_run_in_evaluation():
    """LayerDrop and stochastic depth: evaluation mode runs every layer."""

    def run(m, x):
        for layer in m.layers:
            if m.training and torch.rand(()) < 2:
                continue
            x = x + layer(x)
        return m.head(x)

    model = Model(
        run, layers=nn.ModuleList(nn.Linear(6, 6) for _ in range(3)), head=nn.Linear(6, 2)
    )
    found = sites(model, rows(3, 6))
    assert [found[f"layers.{i}.weight"].uses for i in range(3)] == [1, 1, 1]


def test_the_mode_of_frozen_parts_is_left_to_the_trace():
    """A model that keeps its batch norms in evaluation mode is traced and comes back so."""
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4).eval(), nn.Linear(4, 2))
    model[0].train()
    trace(model, rows(3, 6), training=True)
    assert [layer.training for layer in model] == [True, False, True]


# --- other facts of a parameter -------------------------------------------------------------------


def test_dtype_and_trainability_are_told():
    """They are in the record, since a recipe may skip what is frozen."""
    model = nn.Sequential(nn.Linear(6, 4).double(), nn.Linear(4, 2).double())
    model[0].requires_grad_(False)
    found = sites(model, rows(3, 6).double())
    assert [found[n].dtype for n in ("0.weight", "1.bias")] == ["float64", "float64"]
    assert [found[n].trainable for n in ("0.weight", "1.weight")] == [False, True]


def test_buffers_come_last_and_are_buffers():
    """State that a module keeps: running statistics, masks, frequencies, counters."""
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    model.register_buffer("mask", torch.ones(3, 3).bool())
    model.register_buffer("unsaved", torch.zeros(2), persistent=False)
    model.register_buffer("nothing", None)
    found = sites(model, rows(3, 6))
    names = [n for n, s in found.items() if s.role == "buffer"]
    assert names == list(found)[-len(names) :]
    assert set(names) == {
        "mask", "unsaved", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    }  # fmt: skip
    assert (found["mask"].dtype, found["1.num_batches_tracked"].dtype) == ("bool", "int64")


STARTS = {
    "zeros": lambda: torch.zeros(4, 6),
    "ones": lambda: torch.ones(4, 6),
    "constant 1e-05": lambda: torch.full((4, 6), 1e-5),
    "identity": lambda: torch.eye(4, 6),
    "not finite": lambda: torch.full((4, 6), float("nan")),
    "": lambda: torch.randn(4, 6),
}


def test_a_declared_start_is_read_from_the_values():
    """What an ordinary draw cannot have made."""
    for expected, make in STARTS.items():
        model = nn.Linear(6, 4)
        model.weight.data.copy_(make())
        assert sites(model, rows(3, 6))["weight"].built == expected


def test_a_mark_that_other_libraries_set_is_read():
    """Mamba marks with _no_reinit, Hugging Face with _is_hf_initialized."""
    for mark in ("_no_reinit", "_is_hf_initialized"):
        model = nn.Linear(6, 4)
        setattr(model.weight, mark, True)
        found = sites(model, rows(3, 6))
        assert (found["weight"].built, found["bias"].built) == (f"marked {mark}", "")


def test_a_bias_that_torch_cannot_have_drawn_is_set_apart():
    """Mamba's dt bias and a detector's prior."""
    model = nn.Linear(6, 4)
    nn.init.constant_(model.bias, -4.6)
    assert sites(model, rows(3, 6))["bias"].built == "constant -4.6"
    with torch.no_grad():
        model.bias.copy_(torch.linspace(-4, 1, 4))
    assert sites(model, rows(3, 6))["bias"].built.startswith("set apart: up to 4,")


def test_elementwise_parameters_are_told_from_biases():
    """A_log, temperatures, class tokens and masks that are learned."""
    model = Model(
        lambda m, x: m.head(torch.exp(-m.log) * m.w(x) / m.temperature + m.token),
        w=nn.Linear(6, 4), log=parameter(4), temperature=parameter(1), token=parameter(4),
        head=nn.Linear(4, 2),
    )  # fmt: skip
    found = roles(model, rows(3, 6))
    assert [found[n] for n in ("log", "temperature")] == ["elementwise", "elementwise"]


def test_depth_counts_the_longest_way():
    """Over a skip the long way counts, and biases have no depth of their own."""

    def run(m, x):
        h = m.a(x)
        return m.d(h + m.c(F.relu(m.b(h))))

    model = Model(run, **{n: nn.Linear(6, 6) for n in "abcd"})
    found = sites(model, rows(3, 6))
    assert [found[f"{n}.weight"].depth for n in "abcd"] == [1, 2, 3, 4]


def test_plain_depth_counts_the_run_of_weights_without_norm_sum_or_gate():
    """What a deep plain stack is, to a recipe: norms and sums cut it."""
    plain = nn.Sequential(*[layer for _ in range(5) for layer in (nn.Linear(6, 6), nn.Tanh())])
    found = sites(plain, rows(3, 6))
    assert [found[f"{i}.weight"].plain_depth for i in range(0, 10, 2)] == [5] * 5
    plain.insert(4, nn.LayerNorm(6))
    found = sites(plain, rows(3, 6))
    depths = [s.plain_depth for n, s in found.items() if s.role in ("weight", "readout")]
    assert depths == [2, 2, 3, 3, 3]


def test_plain_depth_ends_at_a_residual_sum_and_at_a_gate():
    """A branch is a run of its own: where it leaves the stream, the stream forks."""

    def run(m, x):
        h = m.b(torch.tanh(m.a(x)))
        h = h + m.d(torch.tanh(m.c(h)))
        h = torch.sigmoid(m.e(h)) * m.f(h)
        return m.h(torch.tanh(m.g(h)))

    model = Model(run, **{n: nn.Linear(6, 6) for n in "abcdefgh"})
    found = sites(model, rows(3, 6))
    depths = {n[0]: s.plain_depth for n, s in found.items() if n.endswith("weight")}
    assert depths == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1, "f": 1, "g": 2, "h": 2}


def test_tokens_do_not_count_as_a_layer_that_needs_a_gain():
    """An embedding is a weight on the way; depth counts it."""
    model = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    found = sites(model, tokens(2, 5))
    assert [found[n].depth for n in ("0.weight", "1.weight", "3.weight")] == [1, 2, 3]
