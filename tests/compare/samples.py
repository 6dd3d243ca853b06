"""Comparisons made by hand, so that what is said of them can be known beforehand."""

from dataclasses import replace
from math import exp, inf, sin
from random import Random

from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._records import Member, Outcome, Settings, Trial

SEEDS = tuple(range(8))
TUNING = (1000, 1001, 1002)
RATES = (0.003, 0.01, 0.03)
SETTINGS = Settings(
    optimizer="adam",
    steps=200,
    target=0.5,
    rates=RATES,
    tuning_seeds=TUNING,
    scoring_seeds=SEEDS,
)


def curve(pace, steps, wobble=0.0, first=2.3, floor=0.05):
    """A running loss that falls as exp(-step / pace) to its floor."""
    return tuple(
        float(f"{floor + (first - floor) * exp(-n / pace) * (1 + wobble * sin(n / 6)):.5g}")
        for n in range(1, steps + 1)
    )


def outcome(name, seed, pace, settings=SETTINGS, *, diverges=0, accuracy=None, test_loss=None):
    """One training of this pace; one that ``diverges`` does so after as many steps."""
    member = Member(name, 0.01, seed)
    if diverges:
        losses = tuple(float(f"{2.3 * 1.1**n:.5g}") for n in range(diverges))
        return Outcome(member=member, steps=None, loss=inf, losses=losses)
    losses = curve(pace, settings.steps, wobble=0.02)
    made = Outcome(
        member=member,
        steps=None,
        loss=losses[-1],
        losses=losses,
        accuracy=accuracy,
        test_loss=test_loss,
    )
    return made.reaching(settings.target, settings.window)


def paced(name, pace, settings=SETTINGS, spread=0.08, right=0.9):
    """A start that arrives at this pace, a little faster or slower with the seed."""
    found = []
    for seed in settings.scoring_seeds:
        noise = Random(f"{name} {seed}")
        changed = pace * (1 + spread * noise.uniform(-1, 1))
        accuracy = None if right is None else right + noise.uniform(-0.01, 0.01)
        found.append(outcome(name, seed, changed, settings, accuracy=accuracy, test_loss=0.4))
    return found


def trials(name, settings=SETTINGS, reaching=2):
    """The rates of a start: the middle one is the best, the first that fails is the smallest."""
    slowest = Random(name).randrange(60, 110)
    for place, rate in enumerate(settings.rates):
        arrives = place in (1, 2, 0)[:reaching]
        steps = slowest + 45 * abs(place - 1) if arrives else None
        count = len(settings.tuning_seeds)
        loss = 0.5 if arrives else 0.9 - 0.1 * place
        yield Trial(start=name, rate=rate, steps=(steps,) * count, loss=(loss,) * count)


def comparison(runs, settings=SETTINGS, reaching=2, on_edge=(), **facts):
    """A comparison of starts by name, the first the reference."""
    names = list(runs)
    given = {
        "model": "Net",
        "reference": names[0],
        "target": "the loss of torch after 200 steps, worst of the tuning seeds",
        "data": "64 of 60,000 examples a step, 10,000 held out",
        "way": "together: 2.1 times as fast as one by one",
        "seconds": 41.7,
        "versions": (("fanin", "0.1.0"), ("torch", "2.13.0")),
    }
    return Comparison(
        starts=tuple(
            Contestant(
                name=name,
                formula=f"N(0, {place})",
                rate=0.01,
                on_edge=name in on_edge,
                plan="c0ffee",
            )
            for place, name in enumerate(names)
        ),
        settings=settings,
        trials=tuple(trial for name in names for trial in trials(name, settings, reaching)),
        outcomes=tuple(one for own in runs.values() for one in own),
        **(given | facts),
    )


def typical():
    """All arrive; steady twice as fast as torch, kaiming between them."""
    return comparison(
        {
            "torch": paced("torch", 80, right=0.88),
            "kaiming": paced("kaiming", 60, spread=0.1, right=0.89),
            "steady": paced("steady", 40, spread=0.12, right=0.92),
        }
    )


def deep():
    """Torch never arrives, wild diverges on half of the seeds, steady always arrives."""
    wild = [
        outcome("wild", seed, 70, diverges=30 + seed if seed % 2 else 0, accuracy=0.8)
        for seed in SEEDS
    ]
    return comparison(
        {
            "torch": paced("torch", 4000, right=0.1),
            "wild": wild,
            "steady": paced("steady", 50, right=0.93),
        },
        on_edge=("torch",),
        reaching=1,
        notes=("to keep to 60 s: 8 scoring seeds",),
    )


def alike():
    """Two starts whose steps differ by a hundredth, and one that may be one of them."""
    return comparison(
        {
            "torch": paced("torch", 60, spread=0.02),
            "twin": paced("twin", 60.5, spread=0.02),
            "blurred": paced("blurred", 60, spread=0.6),
        }
    )


def single():
    """One start, with nothing to compare it to."""
    return comparison({"torch": paced("torch", 60)})


def untargeted():
    """The reference diverges at every rate: there is no target."""
    settings = replace(SETTINGS, target=None)
    wild = [outcome("wild", seed, 1, settings, diverges=25 + seed) for seed in SEEDS]
    return comparison(
        {"wild": wild, "steady": paced("steady", 50, settings)},
        settings,
        reaching=0,
        target="none: wild diverges at every rate",
    )


def many():
    """Nine starts, more than there are colours, one with a long name."""
    names = ["torch", "keras", "kaiming", "xavier", "orthogonal", "lsuv", "gpt2", "steady"]
    runs = {name: paced(name, 90 - 6 * place) for place, name in enumerate(names)}
    runs["a name as long as nobody's screen <is> & wide"] = paced(
        "a name as long as nobody's screen <is> & wide", 75
    )
    return comparison(runs)


def few():
    """Two seeds: too few for any interval."""
    settings = replace(SETTINGS, scoring_seeds=(0, 1), tuning_seeds=(1000,))
    return comparison(
        {"torch": paced("torch", 80, settings), "steady": paced("steady", 40, settings)},
        settings,
    )


def regression():
    """A held-out loss, and no accuracy; losses below 0."""
    settings = replace(SETTINGS, target=-1.0)
    return comparison(
        {
            name: [
                replace(
                    one,
                    losses=tuple(loss - 1.9 for loss in one.losses),
                    loss=one.loss - 1.9,
                ).reaching(-1.0, 20)
                for one in paced(name, pace, settings, right=None)
            ]
            for name, pace in {"torch": 80, "steady": 60}.items()
        },
        settings,
    )


ALL = (typical, deep, alike, single, untargeted, many, few, regression)
