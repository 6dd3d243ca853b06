"""The tables: one for each task, and those over all tasks, losses first."""

import datetime
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf, log
from pathlib import Path
from statistics import fmean

import torch
from tasks import CHOSEN_ON, FEW, MORE, SCORING, SECOND, TUNING, UNSURE
from trainings import Race

from fanin._compare._comparison import Comparison
from fanin._compare._scores import Score, scores_of, steps_text
from fanin._compare._verdict import Verdict

__all__ = ["OURS", "best_other", "machine", "markdown", "page", "ratio", "rows", "table_of"]

OURS = "steady"
HEADER = (
    "| start | rate | arrives, of seeds | steps: median (range) | last loss | rates that reach "
    "| steady's steps over its | steady is |\n|---|---|---|---|---|---|---|---|"
)

Row = dict[str, object]
Known = Mapping[str, Comparison]
"""What is known of each task."""


def ratio(verdict: Verdict) -> str:
    """Our steps over the other's, with the interval: the inverse of the verdict's speed-up."""
    found = verdict.speedup
    if found is None:
        return "–"
    if found.bound == "at least":
        return f"at most {1 / found.low:.2f}"
    if found.bound == "at most":
        return f"at least {1 / found.high:.2f}"
    return f"{1 / found.mean:.2f} ({1 / found.high:.2f}..{1 / found.low:.2f})"


def best_other(comparison: Comparison) -> str:
    """The start but ours with the fewest steps, after the fact; never is twice the budget."""
    budget = comparison.settings.steps
    typical = {
        start.name: fmean(log(one.steps or 2 * budget) for one in comparison.of(start.name))
        for start in comparison
        if start.name != OURS
    }
    return min(typical, key=lambda name: typical[name])


def table_of(race: Race) -> str:
    """One task's table: a row for each start that is known, and why others are not there."""
    task, comparison = race.task, race.known()
    said = (
        f"Loss {task.target:g} within {task.steps} steps, {task.optimizer}, "
        f"seeds {_span(comparison.settings.scoring_seeds)}; baseline: {task.baseline}."
    )
    lines = [f"### {task.name}", "", said, "", HEADER]
    lines += [_row(comparison, score) for score in scores_of(comparison)]
    notes = [f"- *{name}*: {why}." for name, why in race.absent.items()]
    part = f"on all {len(race.settings.scoring_seeds)} seeds"
    notes += [f"- Not trained yet {part}: {', '.join(race.missing)}."] if race.missing else []
    return "\n".join([*lines, *([""] if notes else []), *notes, ""])


def _row(comparison: Comparison, score: Score) -> str:
    against = ["", ""]
    names = {start.name for start in comparison}
    if score.name != OURS and OURS in names:
        verdict = comparison.verdict(OURS, score.name)
        against = [ratio(verdict), verdict.call]
    cells = (
        score.name,
        f"{score.start.rate:g}{' (edge)' if score.start.on_edge else ''}",
        f"{score.arrived} of {len(score.steps)}",
        steps_text(score, comparison.settings.steps),
        "diverged" if score.loss is None else f"{score.loss:.3g}",
        f"{len(score.reaching)} of {len(score.rates)}",
        *against,
    )
    return f"| {' | '.join(cells)} |"


def _span(seeds: Sequence[int]) -> str:
    """Numbers in order, as the runs they are made of.

    >>> _span([0, 1, 2, 8, 9])
    '0 to 2, 8 to 9'
    """
    ends = [0, *(i for i in range(1, len(seeds)) if seeds[i] != seeds[i - 1] + 1), len(seeds)]
    return ", ".join(f"{seeds[a]} to {seeds[b - 1]}" for a, b in pairwise(ends))


def rows(races: Sequence[Race]) -> list[Row]:
    """A row for each start of each task beside steady, those where steady does worst first."""
    found = [
        (_place(verdict), row)
        for name, comparison in _known(races).items()
        for score in scores_of(comparison)
        if score.name != OURS
        for verdict, row in [_row_of(name, comparison, score)]
    ]
    return [row for _, row in sorted(found, key=lambda one: one[0])]


def _known(races: Sequence[Race]) -> Known:
    """The tasks of which there is something to compare."""
    found = {race.task.name: race.known() for race in races}
    return {name: one for name, one in found.items() if {OURS} < {start.name for start in one}}


def _place(verdict: Verdict) -> tuple[bool, float]:
    """Defeats, then all others, by the ratio; one that has none is as one of 1."""
    return verdict.call != "behind", 1.0 if verdict.speedup is None else verdict.speedup.mean


def _row_of(name: str, comparison: Comparison, score: Score) -> tuple[Verdict, Row]:
    ours = next(one for one in scores_of(comparison) if one.name == OURS)
    verdict = comparison.verdict(OURS, score.name)
    return verdict, {
        "task": name,
        "start": score.name,
        "arrives": _arrivals(score),
        "steady arrives": _arrivals(ours),
        "steps": _median(score),
        "steady's": _median(ours),
        "steady's over its": ratio(verdict),
        "steady is": verdict.call,
    }


def _arrivals(score: Score) -> str:
    return f"{score.arrived} of {len(score.steps)}"


def _median(score: Score) -> str:
    return "never" if score.median == inf else f"{score.median:.0f}"


def _summary(known: Known) -> list[Row]:
    """A row for each task, those where steady does worst against the best other start first."""
    found = [_summed(name, comparison) for name, comparison in known.items()]
    return [row for _, row in sorted(found, key=lambda one: one[0])]


def _summed(name: str, comparison: Comparison) -> tuple[tuple[bool, float], Row]:
    scores = {score.name: score for score in scores_of(comparison)}
    other = best_other(comparison)
    default, best = (comparison.verdict(OURS, one) for one in ("torch_default", other))
    return _place(best), {
        "task": name,
        "steady arrives": _arrivals(scores[OURS]),
        "steps": _median(scores[OURS]),
        "torch's default": _median(scores["torch_default"]),
        "steady's over it": ratio(default),
        "steady is": default.call,
        "best other": f"{other}, {_median(scores[other])}",
        "steady's over its": ratio(best),
        "steady then is": best.call,
    }


def _totals(known: Known) -> str:
    """What the tasks come to."""
    default = [one.verdict(OURS, "torch_default") for one in known.values()]
    best = [one.verdict(OURS, best_other(one)) for one in known.values()]
    seeds = sum(one.seeds for one in default)
    arrived = [sum(one.arrived[place] for one in default) for place in (0, 1)]
    below = sum(one.speedup is not None and one.speedup.low >= 1 / 1.1 for one in best)
    return (
        f"{len(known)} tasks: of {seeds} scored trainings steady reaches the target in "
        f"{arrived[0]}, torch's default in {arrived[1]}.\n"
        f"Against torch's default steady is {_calls(default)}; against the best other start of "
        f"each task it is {_calls(best)}, and in {below} the whole interval is at most 1.1."
    )


def _calls(verdicts: Sequence[Verdict]) -> str:
    found = Counter(one.call for one in verdicts)
    words = ("ahead", "tie", "no difference", "behind")
    return ", ".join(f"{word} in {found[word]}" for word in words)


def page(races: Sequence[Race]) -> str:
    """Everything that is known, as Markdown."""
    known = _known(races)
    both = {
        name: one for name, one in known.items() if "torch_default" in {start.name for start in one}
    }
    part = [race.task.name for race in races if race.missing]
    said = "Still without some starts or seeds, which the tables below name"
    rest = [f"{said}: {', '.join(part)}.", ""] if part else []
    summary = [_totals(both), "", *markdown(_summary(both)), "", *rest]
    tables = [table_of(race) for race in races if race.known().starts]
    return "\n".join([_head(), "## In one table, losses first", "", *summary, *tables])


def markdown(found: Sequence[Row]) -> list[str]:
    """The lines of a table."""
    if not found:
        return ["Nothing is known yet."]
    cells = [list(found[0]), ["---"] * len(found[0]), *(list(row.values()) for row in found)]
    return [f"| {' | '.join(map(str, row))} |" for row in cells]


def _head() -> str:
    return f"""# Starts and how fast nets train

Made by `python bench/convergence/run.py`, {machine()}.

Small nets: directions. Each start has its own learning rate, the best of half decades on \
{len(TUNING)} tuning seeds ({len(FEW)} for transformers), widened while it is on an edge; the \
rows are scored on {len(SCORING)} other seeds or more, with the same batches for all.
Steps count until the mean loss of 20 batches is at the target.
Ratios are steady's steps over the other's, seed by seed: below 1 steady is faster. In brackets \
is the 95 % interval of the mean over seeds; "at most" and "at least" are bounds, where one of \
the two does not arrive on some seed.
"A tie" has its whole interval within 1 / 1.1 and 1.1; "no difference" is none beyond the noise \
of the seeds. The best other start is picked after the fact, on the seeds that it is scored on.

The seeds are {_span(SCORING)}, and {_span(SECOND)} for {len(CHOSEN_ON)} tasks: by what steady \
came to there on the first ones, the start of runs of three and four weights and that of readouts \
were chosen, so that these seeds would flatter it. They are in `tried.md`. The {len(CHOSEN_ON)} \
are {", ".join(sorted(CHOSEN_ON))}.

{len(UNSURE)} tasks have {len(MORE)} seeds more, {_span(MORE)}, and their intervals are of all: on \
the first {len(SCORING)} the interval against the best other start was above 1.1. They are \
{", ".join(sorted(UNSURE))}.
"""


def machine() -> str:
    """When, and on what kind of machine."""
    return (
        f"last on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}: {platform.system()} "
        f"{platform.machine()}, {_processor()}, one thread, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unnamed processor"
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else "an unnamed processor"
