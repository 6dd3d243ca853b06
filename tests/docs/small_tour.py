"""A tour in little, without worker processes, and made-up scores: what the tour's tests share."""

import dataclasses
import types
import typing

from fanin._tour.data import load_digits
from fanin._tour.nets import deep_net, find_start, find_starts, simple_net
from fanin._tour.proof import after_training
from fanin._tour.rates import Choice
from fanin._tour.scores import score
from fanin._tour.settings import LINEAR, Settings
from fanin._tour.story import before_training, opening
from fanin._tour.training import Trained, train
from fanin._tour.workers import one_thread


def do_nothing(_):
    """Neither progress nor story."""


def run_here(trainings, *, later=0):
    """A `Run` without worker processes."""
    digits = load_digits()
    with one_thread():
        return [train(training, digits, do_nothing) for training in trainings]


def small_settings(seed=0, **changes):
    settings = Settings(
        find_starts(["torch_default", "kaiming_normal"]),
        (
            LINEAR,
            simple_net(),
            deep_net(3),
            deep_net(3, batch_norm=True),
            simple_net(batch_norm=True),
        ),
        depths=(3, 5),
        seed=seed,
        tuning_seeds=(100 * seed + 50,),
        scoring_seeds=(100 * seed, 100 * seed + 1),
        grid=(-3, -2),
        widenings=1,
        steps=60,
        target=1.2,
    )
    return dataclasses.replace(settings, **changes)


def read(kind, data):
    """The value of this type that was written as this JSON."""
    if data is None:
        return None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: read(hints[name], value) for name, value in data.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        return origin(read(arguments[0], value) for value in data)
    if origin in (types.UnionType, typing.Union):
        return read(next(one for one in arguments if one is not type(None)), data)
    return data


def whole_story(results):
    names = [row.start for row in results.first_layer]
    return [
        *opening(names, results.conditions.seed),
        *before_training(results.first_layer, results.depth),
        *after_training(results),
    ]


def made_cell(steps, shares=None, *, batch_norm=False):
    """A cell scored from made-up trainings, by the code that scores real ones."""
    settings = small_settings(
        starts=tuple(dataclasses.replace(find_start("zeros"), name=name) for name in steps),
        networks=(simple_net(batch_norm=batch_norm),),
        scoring_seeds=(0, 1, 2),
        steps=500,
        window=1,
        target=0.5,
    )
    shares = shares or {name: [0.9, 0.91, 0.92] for name in steps}
    choices = [Choice(settings.networks[0], start, 0.1, False, []) for start in settings.starts]

    def run(trainings, *, later=0):
        return [
            Trained(
                [arriving_at(steps[name][seed]) for name in steps],
                [[shares[name][seed]] * 25 for name in steps],
            )
            for seed in range(3)
        ]

    return score(settings, choices, run)[0]


def arriving_at(step, steps=500):
    """Losses that fall from 1 to 0 at this step; None never."""
    return [0.0 if step is not None and now >= step else 1.0 for now in range(1, steps + 1)]
