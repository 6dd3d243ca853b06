"""`fanin.compare` as a whole: what is trained, on what, to which target, and what is refused."""

import math
from collections import defaultdict

import pytest
import torch
from tests.compare.small import STARTS, batches, compared, dropping, examples, mlp, small, zero
from torch import nn

import fanin
from fanin import FaninError, recipes
from fanin._compare import _trainer, _workers
from fanin._compare._train import train


@pytest.fixture
def trained(monkeypatch):
    """The jobs that are trained."""
    jobs = []

    def spy(job, report):
        jobs.append(job)
        return train(job, report)

    monkeypatch.setattr(_workers, "train", spy)
    return jobs


def steps_of(comparison, name):
    return [one.steps for one in comparison.of(name)]


def test_every_start_is_scored_on_every_seed_at_its_own_best_rate():
    """And at no other."""
    found = compared()
    rates = {start.name: start.rate for start in found}
    assert list(rates) == ["own", "steady"]
    assert [(m.start, m.seed, m.rate) for m in (one.member for one in found.outcomes)] == [
        (name, seed, rates[name]) for seed in (0, 1, 2) for name in rates
    ]
    assert all(len(one.losses) == 40 for one in found.outcomes)
    assert all(one.accuracy is None for one in found.outcomes)


def test_tuning_seeds_are_never_scored(trained):
    """A rate that is chosen and judged on the same seeds looks better than it is."""
    found = compared(seed=5)
    tuning = {m.seed for job in trained if job.stops for m in job.members}
    scoring = {m.seed for job in trained if not job.stops for m in job.members}
    assert tuning == set(found.settings.tuning_seeds) == {1005, 1006}
    assert scoring == set(found.settings.scoring_seeds) == {5, 6, 7}


def test_starts_and_rates_of_a_seed_see_the_same_batches():
    """Pairs differ in their starts alone."""
    seen = defaultdict(list)

    def watched(seed):
        make = batches(seed)

        def batch(step):
            x, y = make(step)
            seen[seed, step].append(y)
            return x, y

        return batch

    compared(data=watched, scoring_seeds=2)
    for own in seen.values():
        assert all(torch.equal(own[0], other) for other in own)
    assert not torch.equal(seen[0, 1][0], seen[1, 1][0])
    assert not torch.equal(seen[0, 1][0], seen[0, 2][0])


@pytest.mark.slow
def test_without_a_target_it_is_the_references_loss_after_three_quarters():
    """On its worst tuning seed, and before any scoring seed is looked at."""
    found = compared()
    rates = {(trial.start, trial.rate): trial.loss for trial in found.trials}
    assert found.target == "the loss of own after 30 steps, worst of the tuning seeds"
    best = min((r for s, r in rates if s == "own"), key=lambda r: sum(rates["own", r]))
    again = compared(recipes={"own": None}, rates=[best], scoring_seeds=1, seed=1000)
    other = compared(recipes={"own": None}, rates=[best], scoring_seeds=1, seed=1001)
    curves = [one.outcomes[0].losses for one in (again, other)]
    assert found.settings.target == pytest.approx(max(curve[29] for curve in curves), rel=1e-3)


def test_the_reference_can_be_another_than_the_first():
    """Its loss is then the target."""
    found = compared(reference="steady")
    assert found.reference == "steady"
    assert found.target.startswith("the loss of steady after 30 steps")


def test_a_target_that_is_given_is_taken():
    """And tuning stops there."""
    found = compared(target=0.7)
    assert (found.settings.target, found.target) == (0.7, "given")
    for one in found.outcomes:
        window = found.settings.window
        hits = [n for n, loss in enumerate(one.losses, 1) if n >= window and loss <= 0.7]
        assert one.steps == (hits[0] if hits else None)


def test_a_target_that_no_start_reaches_is_an_outcome():
    """Nobody arrives; the rates are then those of the smallest loss."""
    found = compared(target=1e-6)
    assert {one.steps for one in found.outcomes} == {None}
    assert all(math.isfinite(one.loss) for one in found.outcomes)
    for start in found:
        trials = {t.rate: sum(t.loss) for t in found.trials if t.start == start.name}
        assert trials[start.rate] == min(trials.values())


def test_a_reference_that_does_not_learn_gives_no_target():
    """Its loss is the first one: every start would be there at once, and all alike."""
    found = compared(recipes={"zeros": zero, "own": None})
    assert found.reference == "zeros"
    assert found.target.startswith("the loss of own after 30 steps")
    assert found.target.endswith("; that of zeros does not fall")
    assert steps_of(found, "zeros") == [None] * 3
    assert None not in steps_of(found, "own")


def test_starts_that_diverge_are_counted():
    """At every rate: there is no target, and no start is left out."""

    def loss(output, targets):
        return nn.functional.cross_entropy(output, targets) + (output * 1e20).square().mean()

    found = compared(loss=loss, optimizer="sgd", recipes={"own": None})
    assert [one.diverged for one in found.of("own")] == [True] * 3
    assert found.settings.target is None
    assert found.target == "none: own diverges at every rate"


def test_members_that_diverge_leave_their_stack(trained, monkeypatch):
    """The others go on alone; the tuning is not paid twice."""
    monkeypatch.setattr(
        "fanin._compare._contest.choose_way", lambda *_: ("together", "forced", 0.001)
    )
    steps = []
    stack = _trainer.Told.add
    monkeypatch.setattr(_trainer.Told, "add", lambda told, n: (steps.append(n), stack(told, n))[1])
    found = compared(rates=(0.1, 1e5), optimizer="sgd", target=0.5, recipes={"own": None})
    assert [t.rate for t in found.trials if t.loss[0] == math.inf][-1] == 1e5
    assert all(job.way == "together" for job in trained)
    assert sum(steps) == sum(job.size for job in trained)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"mine": small, "own": None}, ["mine", "own"]),
        ([recipes.kaiming, recipes.steady], ["kaiming", "steady"]),
        ((small, recipes.torch_default), ["small", "torch_default"]),
        ({"lsuv": recipes.lsuv}, ["lsuv"]),
    ],
)
def test_recipes_are_a_mapping_or_a_sequence(given, names):
    """None is the model as it is made; a function is a recipe; lsuv is calibrated."""
    found = compared(recipes=given, scoring_seeds=2)
    assert [start.name for start in found] == names
    for start in found:
        assert bool(start.plan) == bool(start.formula) == (start.name != "own")
    assert found.reference == names[0]


def test_lsuv_is_calibrated_for_each_member(monkeypatch):
    """Its scales are measured on the member's own draw and first batch."""
    from fanin import Plan

    asked = []
    calibrate = Plan.calibrate
    monkeypatch.setattr(
        Plan,
        "calibrate",
        lambda plan, model, batch, seed=0, **words: (
            asked.append((seed, batch)),
            calibrate(plan, model, batch, seed=seed, **words),
        )[1],
    )
    compared(recipes={"lsuv": recipes.lsuv}, scoring_seeds=2)
    first = dict(reversed(asked))
    assert set(first) == {0, 1, 1000, 1001}
    assert not torch.equal(first[0], first[1])


@pytest.mark.slow
def test_a_comparison_is_a_function_of_its_arguments():
    """And leaves the global generator as it was."""
    before = torch.get_rng_state()
    found = compared(make_model=dropping)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(77)
    again = compared(make_model=dropping)
    assert (again.outcomes, again.trials) == (found.outcomes, found.trials)
    assert compared(make_model=dropping, seed=1).outcomes != found.outcomes


def test_two_pairs_of_tensors_have_held_out_data():
    """The second is never trained on."""
    found = compared(data=(examples(), examples(64, 1)))
    assert all(0.3 < one.accuracy <= 1 for one in found.outcomes)
    assert found.data == "a step: float32 64x6, targets int64 64; held out: float32 64x6"


def test_data_may_be_a_function_and_inputs_a_mapping():
    """As for all that a model is run on."""
    found = compared(data=batches)
    assert all(math.isfinite(one.loss) for one in found.outcomes)


def test_progress_is_told_of_the_whole():
    """It never goes back, and ends at the end."""
    told = []
    compared(progress=lambda *words: told.append(words), target=0.6)
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["rates", "scores"]
    done = [one for _, one, _ in told]
    assert done == sorted(done)
    assert all(one <= total for _, one, total in told)
    assert told[-1][1] == told[-1][2]


class Fails(nn.Module):
    """Runs well for some steps."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        if self.runs > 12:
            raise RuntimeError("no more")
        return self.out(x)


@pytest.mark.parametrize("way", ["one by one", "together"])
def test_a_training_that_fails_says_which(monkeypatch, way):
    """Start, rate, seed and step: with these the user can run it again."""
    monkeypatch.setattr("fanin._compare._contest.choose_way", lambda *_: (way, "forced", 0.001))
    with pytest.raises(FaninError, match="a training failed") as caught:
        compared(make_model=Fails, recipes=STARTS)
    assert caught.value.where == "start own, rate 0.01, seed 1000, step 13"
    assert caught.value.found == "RuntimeError: no more"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_stack_that_fails_is_trained_one_by_one(monkeypatch):
    """Under vmap models fail that run alone, also in the middle."""

    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(6, 3)
            self.runs = 0

        def forward(self, x):
            self.runs += 1
            y = self.out(x)
            return y if self.runs < 30 or y.sum() > math.inf else y + 0

    way = "fanin._compare._contest.choose_way"
    monkeypatch.setattr(way, lambda *_: ("together", "forced", 0.001))
    found = compared(make_model=Late)
    monkeypatch.setattr(way, lambda *_: ("one by one", "forced", 0.001))
    assert found.outcomes == compared(make_model=Late).outcomes


NET = mlp()


def drifting(seed):
    return lambda step: (torch.randn(4, 6), torch.zeros(4).long())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"recipes": {}}, "there is nothing to compare"),
        ({"recipes": []}, "there is nothing to compare"),
        ({"recipes": "steady"}, "these are no recipes"),
        ({"recipes": recipes.steady}, "these are no recipes"),
        ({"recipes": ["steady"]}, "this is not a recipe"),
        ({"recipes": [recipes.steady, recipes.steady]}, "two recipes have one name"),
        ({"optimizer": "adamw"}, "there is no such optimizer"),
        ({"reference": "steddy"}, "there is no such start to compare to"),
        ({"rates": ()}, "rates are positive numbers"),
        ({"rates": (0.1, -1)}, "rates are positive numbers"),
        ({"steps": 0}, "steps is no number of them"),
        ({"batch": 0}, "batch is no number of them"),
        ({"tuning_seeds": 0}, "tuning_seeds is no number of them"),
        ({"scoring_seeds": 1001}, "too many seeds"),
        ({"seed": -1}, "seed is no whole number"),
        ({"workers": 1.5}, "workers is no whole number"),
        ({"way": "stack"}, "there is no such way to train"),
        ({"budget": "2m"}, "budget is no number"),
        ({"budget": 0}, "there is no time"),
        ({"target": math.nan}, "target is no number"),
        ({"data": [1, 2]}, "this is no data to train on"),
        ({"data": lambda seed: lambda step: torch.zeros(3)}, "a batch is no pair"),
        ({"data": drifting}, "not a function of the seed and the step"),
        ({"make_model": lambda: NET}, "the same model each time"),
        ({"make_model": lambda: 3}, "make_model makes no model"),
        ({"make_model": nn.Identity}, "there is nothing to train"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(changes, what, trained):
    """In four beats."""
    with pytest.raises(FaninError, match=what):
        compared(**changes)
    assert trained == []


def test_names_that_are_nearly_right_are_said():
    """The way out."""
    with pytest.raises(FaninError, match="use one of: steady, own"):
        compared(reference="steddy")


def test_the_parts_of_a_comparison_are_those_of_its_settings():
    """What is plotted later is what was trained."""
    found = compared(scoring_seeds=2)
    assert found.model == "Sequential"
    assert dict(found.versions) == {"fanin": fanin.__version__, "torch": torch.__version__}
    assert found.seconds > 0
    assert found.way.startswith(("together: ", "one by one: "))
    assert {trial.start for trial in found.trials} == set(STARTS)
