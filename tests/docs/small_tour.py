"""A tour in little, without worker processes, and made-up trainings: what its tests share."""

from concurrent.futures import Future
from dataclasses import replace

from fanin._compare import Comparison
from fanin._compare._comparison import Contestant
from fanin._compare._records import Member, Outcome, Settings
from fanin._tour.data import load_digits
from fanin._tour.measure import measure_starts, train_networks
from fanin._tour.nets import SIMPLE_NET, Network
from fanin._tour.results import Training
from fanin._tour.settings import fast_settings

NETS = (Network(SIMPLE_NET), Network(SIMPLE_NET, batch_norm=True))


class Here:
    """An executor without processes."""

    def submit(self, function, /, *args):
        future = Future()
        future.set_result(function(*args))
        return future


def say_nothing(_done, _total):
    """No progress."""


def small_settings():
    settings = fast_settings(["own", "kaiming"], 0)
    return replace(settings, networks=NETS, scoring_seeds=3, steps=60, target=1.2)


def small_tour(executor, advance=say_nothing):
    """Results of two nets, trained for a second or two."""
    digits = load_digits()
    return train_networks(measure_starts(0, digits), small_settings(), digits, executor, advance)


def made_training(steps, *, batch_norm=False, budget=500):
    """A net whose starts arrive at these steps, a list for each start with one for each seed."""
    seeds = tuple(range(len(next(iter(steps.values())))))
    settings = Settings(
        optimizer="sgd", steps=budget, target=0.5, rates=(0.1,), scoring_seeds=seeds
    )
    outcomes = [
        Outcome(member=Member(name, 0.1, seed), steps=own[seed], loss=0.4, accuracy=0.9)
        for seed in seeds
        for name, own in steps.items()
    ]
    comparison = Comparison(
        model=SIMPLE_NET,
        reference=next(iter(steps)),
        starts=tuple(Contestant(name=name, formula="", rate=0.1, on_edge=False) for name in steps),
        settings=settings,
        trials=(),
        outcomes=tuple(outcomes),
    )
    return Training(Network(SIMPLE_NET, batch_norm), comparison)
