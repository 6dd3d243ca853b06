"""The tables: one for each task, and one over all tasks, losses first."""

import datetime
import platform
from collections import Counter
from collections.abc import Sequence
from math import inf, log
from pathlib import Path
from statistics import fmean

import torch
from tasks import FEW, SCORING, TUNING, Task
from trainings import Race

from fanin._compare._comparison import Comparison
from fanin._compare._scores import Score, scores_of, steps_text
from fanin._compare._verdict import Verdict

__all__ = ["best_other", "machine", "page", "ratio", "rows", "table_of", "totals"]

OURS = "steady"
HEADER = (
    "| start | rate | arrives, of seeds | steps: median (range) | last loss | rates that reach "
    "| steady's steps over its | steady is |\n|---|---|---|---|---|---|---|---|"
)


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
    said = f"Loss {task.target:g} within {task.steps} steps, {task.optimizer}"
    lines = [f"### {task.name}", "", f"{said}; baseline: {task.baseline}.", "", HEADER]
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


def rows(races: Sequence[Race]) -> list[dict[str, object]]:
    """A row for each task that is known, those where steady does worst first."""
    known = [(race.task, race.known()) for race in races]
    known = [(task, found) for task, found in known if _is_comparable(found)]
    return [_summary(task, found) for task, found in sorted(known, key=lambda one: _place(one[1]))]


def _is_comparable(comparison: Comparison) -> bool:
    names = {start.name for start in comparison}
    return {OURS, "torch_default"} < names


def _place(comparison: Comparison) -> float:
    speedup = comparison.verdict(OURS, best_other(comparison)).speedup
    return inf if speedup is None else speedup.mean


def totals(races: Sequence[Race]) -> list[str]:
    """What the rows come to."""
    known = [found for race in races if _is_comparable(found := race.known())]
    pairs = [
        (one.verdict(OURS, "torch_default"), one.verdict(OURS, best_other(one))) for one in known
    ]
    default, best = ([pair[place] for pair in pairs] for place in (0, 1))
    seeds = sum(one.seeds for one in default)
    arrived = [sum(one.arrived[place] for one in default) for place in (0, 1)]
    below = sum(one.speedup is not None and one.speedup.low >= 1 / 1.1 for one in best)
    return [
        (
            f"{len(known)} tasks: of {seeds} scored trainings steady reaches the target in "
            f"{arrived[0]}, torch's default in {arrived[1]}.\n"
            f"Against torch's default steady is {_calls(default)}; against the best other start of "
            f"each task it is {_calls(best)}, and in {below} the whole interval is at most 1.1."
        )
    ]


def _calls(verdicts: Sequence[Verdict]) -> str:
    found = Counter(one.call for one in verdicts)
    words = ("ahead", "tie", "no difference", "behind")
    return ", ".join(f"{word} in {found[word]}" for word in words)


def _summary(task: Task, comparison: Comparison) -> dict[str, object]:
    scores = {score.name: score for score in scores_of(comparison)}
    other = best_other(comparison)
    default, best = (comparison.verdict(OURS, name) for name in ("torch_default", other))
    return {
        "task": task.name,
        "steady arrives": f"{scores[OURS].arrived} of {len(scores[OURS].steps)}",
        "steps": _median(scores[OURS]),
        "torch's default": _median(scores["torch_default"]),
        "steady's over it": ratio(default),
        "steady is": default.call,
        "best other": f"{other}, {_median(scores[other])}",
        "steady's over its": ratio(best),
        "steady then is": best.call,
    }


def _median(score: Score) -> str:
    return "never" if score.median == inf else f"{score.median:.0f}"


def page(races: Sequence[Race]) -> str:
    """Everything that is known, as Markdown."""
    begun = [race for race in races if race.known().starts]
    part = [race.task.name for race in races if race.missing]
    said = "Still without some starts or seeds, which the tables below name"
    rest = [f"{said}: {', '.join(part)}.", ""] if part else []
    summary = [*totals(races), "", *_table(rows(races)), "", *rest]
    tables = [table_of(race) for race in begun]
    return "\n".join([_head(), "## In one table, losses first", "", *summary, *tables])


def _table(found: Sequence[dict[str, object]]) -> list[str]:
    if not found:
        return ["Nothing is known yet."]
    cells = [list(found[0]), ["---"] * len(found[0]), *(list(row.values()) for row in found)]
    return [f"| {' | '.join(map(str, row))} |" for row in cells]


def _head() -> str:
    return f"""# Starts and how fast nets train

Made by `python bench/convergence/run.py`, {machine()}.

Small nets: directions. Each start has its own learning rate, the best of half decades on \
{len(TUNING)} tuning seeds ({len(FEW)} for transformers), widened while it is on an edge; the \
rows are scored on {len(SCORING)} other seeds, with the same batches for all.
Steps count until the mean loss of 20 batches is at the target.
Ratios are steady's steps over the other's, seed by seed: below 1 steady is faster. In brackets \
is the 95 % interval of the mean over seeds; "at most" and "at least" are bounds, where one of \
the two does not arrive on some seed.
"A tie" has its whole interval within 1 / 1.1 and 1.1; "no difference" is none beyond the noise \
of the seeds. The best other start is picked after the fact, on the seeds that it is scored on.
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
