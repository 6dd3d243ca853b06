"""Members of a comparison: trained as torch.optim would, alone or together, on the same batches."""

import math

import pytest
import torch
from torch import nn

import fanin
from fanin import FaninError
from fanin._compare._data import as_data, default_loss
from fanin._compare._records import Member, Settings
from fanin._compare._train import Job, built, train
from fanin._compare._way import choose_way

OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, rate: torch.optim.SGD(parameters, rate, momentum=0.9),
    "adam": torch.optim.Adam,
}


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def normed():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def layer_normed():
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))


def frozen():
    net = mlp()
    net[0].weight.requires_grad_(requires_grad=False)
    return net


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(1, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.norm(self.conv(x.unsqueeze(1))).relu().mean(-1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.packed, self.out = nn.Linear(1, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.packed(x.unsqueeze(-1)).chunk(3, -1)
        shares = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1)
        return self.out((shares @ v).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.rnn(x.unsqueeze(-1))[0][:, -1])


MODELS = [mlp, normed, layer_normed, frozen, Convolutional, Attention, Recurrent]


def examples(n=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def double(make_model):
    """In float64, as training multiplies what float32 rounds differently."""
    return lambda: make_model().double()


def job(make_model=mlp, *, members=None, test=True, **changes):
    settings = {"steps": 30, "target": 0.9, "window": 5} | changes
    data = as_data((examples(), examples(32, 1)) if test else examples(), size=16)
    make_model = double(make_model)
    starts = {"own": None, "kaiming": plan_of(make_model)}
    members = members or tuple(Member(s, r, 3) for s in starts for r in (0.1, 0.01))
    return Job(
        make_model=make_model,
        starts=starts,
        data=data,
        settings=Settings(**settings),
        members=members,
    )


def plan_of(make_model):
    return fanin.plan(make_model(), examples()[0][:8], recipe=fanin.recipes.kaiming)


def both_ways(one):
    return train(replaced(one, way="one by one")), train(replaced(one, way="together"))


def replaced(one, **changes):
    from dataclasses import replace

    return replace(one, **changes)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_member_is_what_a_plain_loop_over_torch_optim_trains(optimizer):
    """Steps and losses are only worth something if they are the user's own."""
    one = job(normed, members=(Member("kaiming", 0.05, 3),), optimizer=optimizer)
    net = built(one, one.members[0])
    step_of = OPTIMIZERS[optimizer](net.parameters(), 0.05)
    batches, losses = one.data.batches(3), []
    for step in range(1, 31):
        x, y = batches(step)
        loss = nn.functional.cross_entropy(net(x), y)
        losses.append(loss.item())
        step_of.zero_grad()
        loss.backward()
        step_of.step()
    [found] = train(one)
    assert found.loss == pytest.approx(sum(losses[-5:]) / 5, rel=1e-9)
    assert found.losses[4] == pytest.approx(sum(losses[:5]) / 5, rel=1e-4)
    net.eval()
    x, y = one.data.test
    assert found.accuracy == pytest.approx((net(x).argmax(-1) == y).float().mean().item())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make_model", MODELS, ids=lambda make: make.__name__)
def test_members_trained_together_come_out_as_one_by_one(make_model, optimizer):
    """The way is a matter of speed."""
    alone, together = both_ways(job(make_model, optimizer=optimizer))
    for one, other in zip(alone, together, strict=True):
        assert one.member == other.member
        assert one.losses == pytest.approx(other.losses, rel=2e-5)
        assert one.loss == pytest.approx(other.loss, rel=1e-8)
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-8)
        assert one.steps == other.steps


def test_dropout_is_trained_one_by_one_with_draws_of_the_member_s_seed():
    """A stack would draw other masks than a loop; and one member's masks are not another's."""

    def dropping():
        return nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.Linear(16, 3))

    one = job(dropping)
    way, why, _ = choose_way(one)
    assert (way, why) == ("one by one", "the model draws random numbers as it runs")
    torch.manual_seed(1)
    first = train(one)
    torch.manual_seed(2)
    assert train(replaced(one, members=one.members[::-1])) == first[::-1]


def test_a_training_leaves_the_global_generator_alone():
    """Whoever compares in the middle of a script must go on with the same numbers."""
    one = job()
    before = torch.get_rng_state()
    both_ways(one)
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_that_does_not_run_as_a_stack_is_trained_one_by_one():
    """Control flow on values is what vmap cannot do."""

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(6, 3)

        def forward(self, x):
            y = self.out(x)
            return y if y.sum() > 0 else 2 * y

    way, why, _ = choose_way(job(Branching))
    assert way == "one by one"
    assert "does not run as a stack" in why


def test_a_diverged_member_ends_and_says_so():
    """A loss of infinity is an outcome, counted, and no reason to stop the others."""
    members = (Member("own", 1e6, 3), Member("own", 0.1, 3))
    for outcomes in both_ways(job(members=members)):
        bad, good = outcomes
        assert (bad.diverged, bad.steps, bad.loss, bad.accuracy) == (True, None, math.inf, None)
        assert math.isfinite(good.loss)
        assert good.steps is not None


def test_a_member_that_stops_at_the_target_has_the_steps_of_one_that_goes_on():
    """Tuning stops early, scoring does not: the steps must be the same."""
    whole = train(job())
    stopped = train(replaced(job(), stops=True))
    assert [one.steps for one in whole] == [one.steps for one in stopped]
    assert any(one.steps for one in whole)


def test_without_a_target_no_member_has_steps():
    """There is nothing to reach."""
    assert {one.steps for one in train(job(target=None))} == {None}


def test_batches_are_a_function_of_the_seed_and_the_step():
    """Members see the same data in whatever order they are trained."""
    data = as_data(examples(), size=4)
    first = [data.batches(1)(step)[0] for step in (1, 2)]
    again = [data.batches(1)(step)[0] for step in (2, 1)]
    assert torch.equal(first[0], again[1])
    assert torch.equal(first[1], again[0])
    assert not torch.equal(first[0], data.batches(2)(1)[0])


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (3, "this is no data to train on"),
        ((torch.zeros(3), [1, 2, 3]), "this is no data to train on"),
        ((torch.zeros(3, 2), torch.zeros(4)), "inputs and targets are not of one length"),
        ((torch.zeros(0, 2), torch.zeros(0)), "inputs and targets are not of one length"),
    ],
)
def test_other_data_is_an_error_in_four_beats(given, what):
    """The way out is in the message."""
    with pytest.raises(FaninError, match=what):
        as_data(given)


def test_the_default_loss_is_cross_entropy_or_squares():
    """Whole numbers are classes, also one for each position."""
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(10).view(2, 5) % 7
    expected = nn.functional.cross_entropy(logits.view(10, 7), targets.view(10))
    assert torch.equal(default_loss(logits, targets), expected)
    assert default_loss(torch.ones(3), torch.zeros(3)) == 1
