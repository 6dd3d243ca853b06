"""Long and deep models: the time of a trace grows with the number of operations."""

import torch
from tests.oracles.trace_models import Model, parameter, rows, sites, writers
from torch import nn
from torch.nn import functional

F = functional


def test_a_recurrence_over_hundreds_of_steps_is_traced():
    """A linear state space by hand: every state is a sum of the one before and an input."""

    def run(m, x):
        h = torch.zeros(2, 4)
        for i in range(400):
            h = m.decay * h + m.w(x[:, i % 3])
        return m.head(h)

    found = sites(
        Model(run, decay=parameter(4), w=nn.Linear(5, 4), head=nn.Linear(4, 2)), rows(2, 3, 5)
    )
    assert (found["decay"].role, found["w.weight"].uses) == ("elementwise", 400)
    assert found["head.weight"].sources == ("w.weight",)


def test_ways_that_part_and_meet_again_are_walked_once():
    """30 of them are a billion ways from one end to the other."""
    joins = {
        "sums": lambda h: h + h.roll(1, -1),
        "products": lambda h: h * h.roll(1, -1).sigmoid(),
        "concatenations": lambda h: torch.cat([h.relu(), h.tanh()], -1)[..., ::2],
        "attention-like": lambda h: torch.bmm(h[:, :, None], h[:, None].softmax(-1)).sum(-1),
    }
    for name, join in joins.items():

        def run(m, x, join=join):
            h = m.a(x)
            for _ in range(30):
                h = join(h)
            return m.b(h)

        found = sites(Model(run, a=nn.Linear(5, 8), b=nn.Linear(8, 2)), rows(2, 5))
        assert (name, found["b.weight"].sources) == (name, ("a.weight",))


def test_a_dense_net_of_five_hundred_layers_is_traced():
    """Every layer reads all before it."""

    def run(m, x):
        for layer in m.layers:
            x = torch.cat([x, layer(F.relu(x[:, -4:]))], -1)
        return m.head(x)

    layers = nn.ModuleList(nn.Linear(4, 1) for _ in range(500))
    found = sites(Model(run, layers=layers, head=nn.Linear(504, 2)), rows(2, 4))
    assert len(found["head.weight"].sources) == 500


def test_a_residual_net_of_a_thousand_branches_is_counted_to_the_end():
    """Its stream is one, and the last branch has the index of the count."""

    def run(m, x):
        for layer in m.layers:
            x = x + layer(F.relu(x))
        return x

    model = Model(run, layers=nn.ModuleList(nn.Linear(4, 4) for _ in range(1000)))
    found = sites(model, rows(2, 4))
    last = found["layers.999.weight"].residual
    assert (last.index, last.count, last.stream, last.level) == (1000, 1000, 0, 0)


def test_a_sum_of_hundreds_of_terms_is_one_sum():
    """Ensembles, and experts that are added up one by one."""

    def run(m, x):
        return m.head(sum(layer(x) for layer in m.layers))

    layers = nn.ModuleList(nn.Linear(4, 3) for _ in range(400))
    found = sites(Model(run, layers=layers, head=nn.Linear(3, 2)), rows(2, 4))
    assert found["layers.7.weight"].summands == 400


def test_a_state_that_is_iterated_with_its_input_has_no_stream():
    """Equilibrium models: ``h = tanh(W x + U h)``, the same x and the same weights each time."""

    def run(m, x):
        h = torch.zeros(2, 4)
        for _ in range(100):
            h = torch.tanh(m.w(x) + m.u(h))
        return m.head(h)

    model = Model(run, w=nn.Linear(5, 4), u=nn.Linear(4, 4), head=nn.Linear(4, 2))
    assert writers(model, rows(2, 5)) == []
    found = sites(model, rows(2, 5))
    assert (found["w.weight"].role, found["u.weight"].role) == ("weight", "weight")
