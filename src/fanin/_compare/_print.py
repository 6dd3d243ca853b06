"""A comparison as text for terminals of 80 columns."""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from fanin._compare._comparison import Comparison
from fanin._compare._scores import Score, scores_of, steps_text
from fanin._compare._statistics import LEVEL
from fanin._compare._verdict import Verdict
from fanin._text import bar, number, paragraph, table

__all__ = [
    "at_once_text",
    "best_text",
    "comparison_text",
    "count",
    "errors_text",
    "settings_text",
    "target_text",
]

_BAR: Final = 8


def comparison_text(comparison: Comparison) -> str:
    """Settings, target, a line for each start, a verdict on each, notes."""
    return "\n".join(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    names = count(len(comparison.starts), "start")
    yield paragraph(f"{comparison.model}: {names}; {settings_text(comparison)}")
    if comparison.data:
        yield paragraph(f"data: {comparison.data}")
    yield paragraph(f"target: {target_text(comparison)}")
    yield ""
    scores = scores_of(comparison)
    yield _table(comparison, scores)
    yield from _footnotes(scores)
    at_once = at_once_text(comparison)
    if at_once:
        yield paragraph(at_once)
    yield from _verdicts(comparison)
    yield from _end(comparison)


def settings_text(comparison: Comparison) -> str:
    """Optimizer, steps and seeds.

    The rates are those that any start was tried at, as grids are widened.
    """
    settings = comparison.settings
    rates = sorted({trial.rate for trial in comparison.trials})
    tuning = count(len(settings.tuning_seeds), "other seed")
    tried = f" of {rates[0]:g} to {rates[-1]:g}" if rates else ""
    return (
        f"{settings.optimizer}, {settings.steps} steps; each at the rate{tried} that was best on "
        f"{tuning}, scored on {count(len(settings.scoring_seeds), 'seed')}"
    )


def target_text(comparison: Comparison) -> str:
    """The loss to reach, and where it comes from."""
    settings = comparison.settings
    if settings.target is None:
        return comparison.target or "none"
    source = f", {comparison.target}" if comparison.target else ""
    return f"mean loss of {settings.window} steps at most {settings.target:.4g}{source}"


def count(how_many: int, what: str) -> str:
    """How many of what, in the plural where it is one.

    >>> count(1, "seed"), count(8, "seed")
    ('1 seed', '8 seeds')
    """
    return f"{how_many} {what}{'s' * (how_many != 1)}"


def _table(comparison: Comparison, scores: Sequence[Score]) -> str:
    has_accuracy = any(score.accuracy is not None for score in scores)
    has_test = any(score.test_loss is not None for score in scores)
    headers = ["start", "rate ", "arrived", "steps", "", "loss"]
    headers += ["accuracy"] if has_accuracy else ["held out"] if has_test else []
    budget = comparison.settings.steps
    slowest = max((min(score.median, budget) for score in scores), default=1)
    rows = []
    for score in scores:
        row = [
            score.name,
            f"{score.start.rate:g}{'*' if score.start.on_edge else ' '}",
            f"{score.arrived} of {len(score.steps)}",
            steps_text(score, budget),
            bar(min(score.median, budget), slowest, _BAR),
            _loss(score),
        ]
        if has_accuracy:
            row.append("–" if score.accuracy is None else f"{100 * score.accuracy:.1f} %")
        elif has_test:
            row.append(number(score.test_loss))
        rows.append(row)
    return table(headers, rows, left=(0, 4))


def _loss(score: Score) -> str:
    return "diverged" if score.loss is None else number(score.loss)


def _footnotes(scores: Sequence[Score]) -> Iterator[str]:
    said = ["steps: median (least–most); loss and what is held out: means after the last step."]
    diverged = [f"{score.diverged} of {score.name}" for score in scores if score.diverged]
    if diverged:
        said.append(f"Diverged: {', '.join(diverged)}.")
    if any(score.start.on_edge for score in scores):
        said.append("* The last rate tried on its side: beyond it there may be a better one.")
    if any(score.arrived and score.median == inf for score in scores):
        said.append("> Not within the steps that were taken.")
    yield paragraph(" ".join(said))


def at_once_text(comparison: Comparison) -> str:
    """Who was at the target as soon as steps are counted, and so perhaps before."""
    window = comparison.settings.window
    early = [one.member.start for one in comparison.outcomes if one.steps == window]
    if not early:
        return ""
    names = ", ".join(dict.fromkeys(early))
    return (
        f"At the target by step {window}, the first that counts, and perhaps before it: {names}. "
        "A lower target would tell more."
    )


def _verdicts(comparison: Comparison) -> Iterator[str]:
    verdicts = comparison.verdicts
    if not verdicts:
        return
    yield ""
    yield f"Against {comparison.reference}, seed by seed:"
    for verdict in verdicts:
        text = paragraph(f"{verdict.start}: {verdict.said}", indent=4)
        yield f"  - {text[4:]}"
    said = errors_text(verdicts)
    if said:
        yield paragraph(said)
    yield paragraph(best_text(comparison))


def errors_text(verdicts: Sequence[Verdict]) -> str:
    """How many of the intervals are to be expected to miss the truth."""
    found = [one for each in verdicts for one in (each.speedup, each.loss, each.accuracy)]
    known = sum(one is not None for one in found)
    if known == 0:
        return ""
    missing = number((1 - LEVEL) * known, 2)
    return (
        "In brackets: 95 % intervals. Each misses the truth once in twenty, of these "
        f"{known} about {missing}."
    )


def best_text(comparison: Comparison) -> str:
    """Which starts are not beaten."""
    best, pairs = comparison.best, len(comparison.starts) * (len(comparison.starts) - 1) // 2
    together = " (95 % for all pairs together)" if pairs > 1 else ""
    if len(best) == len(comparison.starts):
        return f"No start is beaten by any other{together}."
    return f"Beaten by no other{together}: {', '.join(best)}."


def _end(comparison: Comparison) -> Iterator[str]:
    yield ""
    for note in comparison.notes:
        yield paragraph(f"note: {note}")
    if comparison.way:
        yield paragraph(f"trained {comparison.way}")
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions)
    yield paragraph(", ".join(filter(None, [f"{comparison.seconds:.0f} s", versions])))
