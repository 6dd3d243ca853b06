"""The end of the story: what the trainings showed, every verdict computed from the comparisons."""

from collections.abc import Iterator, Sequence
from math import exp, isfinite, log
from statistics import fmean

from fanin._compare import Comparison
from fanin._compare._curves import headline
from fanin._compare._scores import Score, scores_of
from fanin._compare._statistics import Interval, difference
from fanin._text import number, paragraph, table
from fanin._tour.results import Results, Training
from fanin._tour.story import Block

__all__ = ["after_training"]


def after_training(results: Results) -> list[Block]:
    """The comparisons, what batch norm changes, and all of it in short."""
    trainings = results.trainings
    return [*_comparisons(trainings), *_batch_norm(trainings), *_in_short(trainings)]


def _comparisons(trainings: Sequence[Training]) -> Iterator[Block]:
    yield Block("4  The proof: the same nets, trained", "heading")
    yield Block(
        paragraph(
            "fanin.compare trains each net from each start, with plain SGD on the same batches in "
            "the same order. Each start has its own best learning rate, found on seeds that the "
            "scores do not use."
        )
    )
    for training in trainings:
        yield Block(training.network.title, "heading")
        yield Block(str(training.comparison), "code", training.comparison)


def _batch_norm(trainings: Sequence[Training]) -> Iterator[Block]:
    pairs = [
        (plain, normed)
        for plain in trainings
        for normed in trainings
        if normed.network.batch_norm
        and not plain.network.batch_norm
        and plain.network.name == normed.network.name
    ]
    if not pairs:
        return
    yield Block("5  Batch norm: how much does the start matter now?", "heading")
    for plain, normed in pairs:
        yield Block(paragraph(_spread_verdict(plain, normed)))


def _spread_verdict(plain: Training, normed: Training) -> str:
    count, without = len(plain.comparison.starts), _arriving(plain.comparison)
    with_norm = _arriving(normed.comparison)
    text = (
        f"{plain.network.name}: {without} of {count} starts reach the target on every seed without "
        f"batch norm, {with_norm} with it."
    )
    if without == with_norm == count > 1:
        text += " " + _change(_spreads(plain.comparison), _spreads(normed.comparison))
    elif with_norm == count > 1:
        text += (
            " With it, the slowest start takes "
            f"{number(fmean(_spreads(normed.comparison)))} times the steps of the fastest."
        )
    return text


def _arriving(comparison: Comparison) -> int:
    """How many starts arrive on every seed."""
    return sum(
        all(outcome.steps is not None for outcome in comparison.of(start.name))
        for start in comparison
    )


def _spreads(comparison: Comparison) -> list[float]:
    """For each seed, the steps of its slowest start over those of its fastest."""
    by_seed = zip(*(comparison.of(start.name) for start in comparison), strict=True)
    steps = ([one.steps for one in outcomes if one.steps is not None] for outcomes in by_seed)
    return [max(own) / min(own) for own in steps]


def _change(plain: Sequence[float], normed: Sequence[float]) -> str:
    """Whether the slowest and the fastest start are nearer to each other with batch norm."""
    found = difference([log(one / two) for one, two in zip(plain, normed, strict=True)])
    text = (
        "The slowest start takes "
        f"{number(fmean(plain))} times the steps of the fastest without batch norm, "
        f"{number(fmean(normed))} times with it"
    )
    if found is None:
        return f"{text}; too few seeds to say more."
    return f"{text}: {_word(found)} (by {_factor(found.low)} to {_factor(found.high)})."


def _word(found: Interval) -> str:
    if found.holds(0):
        return "no difference beyond seed noise"
    return "it narrows that spread" if found.low > 0 else "it widens that spread"


def _factor(logarithm: float) -> str:
    return f"{exp(logarithm):.2f}"


def _in_short(trainings: Sequence[Training]) -> Iterator[Block]:
    """A line for each net: the steps of each start, and which are not beaten."""
    names = [start.name for start in trainings[0].comparison]
    yield Block("6  In short", "heading")
    yield Block(paragraph("Median steps to the target, or on how many seeds it is reached:"))
    rows = [[one.network.title, *map(_steps, scores_of(one.comparison))] for one in trainings]
    best = [f"{one.network.title}: {headline(one.comparison)}" for one in trainings]
    yield Block("\n".join([table(["", *names], rows), "", *map(paragraph, best)]), "code")


def _steps(score: Score) -> str:
    if isfinite(score.median):
        return f"{score.median:.0f}"
    return f"{score.arrived} of {len(score.steps)}"
