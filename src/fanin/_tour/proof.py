"""The end of the story: what the trainings showed, every verdict computed from the scores."""

from collections.abc import Iterator, Sequence
from math import exp, log
from statistics import fmean

from fanin._text import bar, number, paragraph, table
from fanin._tour.numbers import Interval, paired_interval
from fanin._tour.results import Conditions, Results
from fanin._tour.scores import Cell, Comparison, Score
from fanin._tour.signal import gradient_left, signal_left
from fanin._tour.story import Block

__all__ = ["after_training"]


def after_training(results: Results) -> list[Block]:
    """The proof, and what batch norm changes."""
    nets = [cell for cell in results.cells if cell.network.hidden_layers]
    return [
        *_how(results.conditions, sum(len(cell.comparisons) for cell in nets)),
        *_linear(results),
        *(block for cell in nets for block in _cell(cell, results.conditions)),
        *_batch_norm(nets),
        *_side_by_side(results),
    ]


def _how(conditions: Conditions, comparisons: int) -> Iterator[Block]:
    seeds, tuning = len(conditions.scoring_seeds), len(conditions.tuning_seeds)
    yield Block("4  The proof: the same nets, trained", is_heading=True)
    yield Block(
        paragraph(
            f"{conditions.steps} steps of plain SGD on batches of {conditions.batch}; with one "
            "seed all starts see the same batches in the same order. Target: a training loss of "
            f"{conditions.target:g}, averaged over {conditions.window} steps. Each start has the "
            f"learning rate that was best for it on {_count(tuning, 'other seed')}, from one grid; "
            f"what is shown comes from {_count(seeds, 'seed')} that no choice has seen: mean, and "
            "from the smallest to the largest."
        )
    )
    if comparisons:
        yield Block(
            paragraph(
                "Differences are given with 95 % intervals. Each errs once in twenty, so of the "
                f"{2 * comparisons} below about {number(comparisons / 10, 2)} may show a "
                "difference that is not there."
            )
        )


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'s' if number_of != 1 else ''}"


def _linear(results: Results) -> Iterator[Block]:
    for cell in results.cells:
        if not cell.network.hidden_layers:
            score = min(cell.scores, key=lambda score: _mean_steps(score, results.conditions))
            yield Block(
                paragraph(
                    "For scale: a linear classifier, the best of its starts, reaches the target on "
                    f"{_reached(score)} seeds ({_steps(score)} steps) and then stops at "
                    f"{_percent(fmean(score.accuracy))} right answers on held-out digits."
                )
            )


def _cell(cell: Cell, conditions: Conditions) -> Iterator[Block]:
    norm = "with" if cell.network.batch_norm else "without"
    yield Block(f"{cell.network.name}, {norm} batch norm", is_heading=True)
    yield Block(_score_table(cell, conditions))
    edges = [score.start for score in cell.scores if score.rate_on_edge]
    if edges:
        yield Block(
            paragraph(
                f"* the last rate tried on that side, for {_and(edges)}: beyond it there may be a "
                "better one."
            )
        )
    if cell.comparisons:
        yield Block("\n".join(_against(cell)))


def _against(cell: Cell) -> Iterator[str]:
    yield f"Against {cell.comparisons[0].against}, seed by seed:"
    for comparison in cell.comparisons:
        text = paragraph(f"{comparison.start}: {_verdict(cell, comparison)}", indent=4)
        yield f"  - {text[4:]}"


def _score_table(cell: Cell, conditions: Conditions) -> str:
    slowest = max(_mean_steps(score, conditions) for score in cell.scores)
    rows = [
        [
            score.start,
            f"{score.rate:g}{'*' if score.rate_on_edge else ' '}",
            _reached(score),
            _steps(score),
            bar(_mean_steps(score, conditions), slowest, 12) if all(score.steps) else "not reached",
            _loss(score),
            f"{_percent(fmean(score.accuracy))}",
        ]
        for score in cell.scores
    ]
    headers = ["start", "rate ", "reached", "steps", "", "loss", "accuracy"]
    return table(headers, rows, left=(0, 4))


def _reached(score: Score) -> str:
    return f"{_reached_count(score)} of {len(score.steps)}"


def _reached_count(score: Score) -> int:
    return sum(step is not None for step in score.steps)


def _steps(score: Score) -> str:
    arrived = [step for step in score.steps if step is not None]
    if not arrived:
        return "–"
    return f"{fmean(arrived):.0f} ({min(arrived)}–{max(arrived)})"


def _mean_steps(score: Score, conditions: Conditions) -> float:
    return fmean(conditions.steps + 1 if step is None else step for step in score.steps)


def _loss(score: Score) -> str:
    losses = [loss for loss in score.loss if loss is not None]
    return number(fmean(losses)) if len(losses) == len(score.loss) else "diverged"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _verdict(cell: Cell, comparison: Comparison) -> str:
    steps, accuracy = comparison.speedup, comparison.accuracy
    points = f"{100 * accuracy.low:+.1f} to {100 * accuracy.high:+.1f} points"
    same_accuracy = accuracy.low <= 0 <= accuracy.high
    gain = "no difference beyond seed noise" if same_accuracy else f"{100 * accuracy.mean:+.1f}"
    if steps is None:
        by_start = {score.start: score for score in cell.scores}
        mine, theirs = by_start[comparison.start], by_start[comparison.against]
        other = f"{theirs.start} on {_reached(theirs)}"
        arrival = f"reaches the target on {_reached(mine)} seeds, {other}"
        if _reached_count(mine) == _reached_count(theirs):
            arrival = f"reaches the target on as many seeds, {_reached(mine)}"
        return f"{arrival}; accuracy: {gain} ({points})"
    if steps.low <= 1 <= steps.high and same_accuracy:
        ratio = f"{steps.low:.2f} to {steps.high:.2f} times as fast"
        return f"no difference beyond seed noise ({ratio}; accuracy {points})"
    return f"{_speed(steps)}; accuracy: {gain} ({points})"


def _speed(ratio: Interval) -> str:
    """In steps, never in seconds: a step costs the same whatever the start."""
    if ratio.low <= 1 <= ratio.high:
        return f"no difference beyond seed noise in steps ({ratio.low:.2f} to {ratio.high:.2f})"
    if ratio.low > 1:
        return f"{ratio.mean:.2f} times fewer steps ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{1 / ratio.mean:.2f} times more steps ({1 / ratio.high:.2f} to {1 / ratio.low:.2f})"


def _batch_norm(cells: Sequence[Cell]) -> Iterator[Block]:
    pairs = [
        (plain, normed)
        for plain in cells
        for normed in cells
        if normed.network.batch_norm
        and not plain.network.batch_norm
        and plain.network.widths == normed.network.widths
    ]
    if not pairs:
        return
    yield Block("5  Batch norm: how much does the start matter now?", is_heading=True)
    for plain, normed in pairs:
        yield Block(paragraph(_spread_verdict(plain, normed)))


def _spread_verdict(plain: Cell, normed: Cell) -> str:
    without, with_norm = _arriving(plain), _arriving(normed)
    text = (
        f"{plain.network.name}: {without} of {len(plain.scores)} starts reach the target on every "
        f"seed without batch norm, {with_norm} with it."
    )
    if without == with_norm == len(plain.scores) > 1:
        text += " " + _change_of_spread(_spreads(plain), _spreads(normed))
    elif with_norm > 1:
        text += (
            " With it, the slowest of those takes "
            f"{_slowest_over_fastest(normed):.2f} times the steps of the fastest."
        )
    return text


def _arriving(cell: Cell) -> int:
    return sum(None not in score.steps for score in cell.scores)


def _spreads(cell: Cell) -> list[float]:
    """For each seed, the steps of its slowest start over those of its fastest."""
    by_seed = zip(*(score.steps for score in cell.scores), strict=True)
    return [max(filter(None, steps)) / min(filter(None, steps)) for steps in by_seed]


def _slowest_over_fastest(cell: Cell) -> float:
    means = [fmean(filter(None, score.steps)) for score in cell.scores if None not in score.steps]
    return max(means) / min(means)


def _change_of_spread(plain: Sequence[float], normed: Sequence[float]) -> str:
    """Whether the slowest and the fastest start are nearer to each other with batch norm."""
    change = paired_interval(
        [log(before / after) for before, after in zip(plain, normed, strict=True)]
    )
    word = "does not clearly change"
    if change.low > 0 or change.high < 0:
        word = "narrows" if change.low > 0 else "widens"
    return (
        f"Slowest over fastest start, in steps: {fmean(plain):.2f} without it, "
        f"{fmean(normed):.2f} with it; it {word} that spread (95 % interval of the factor "
        f"{exp(change.low):.2f} to {exp(change.high):.2f})."
    )


def _side_by_side(results: Results) -> Iterator[Block]:
    """For each plain net that was measured before training at its depth: both, start by start."""
    for cell in results.cells:
        depth = cell.network.hidden_layers
        profiles = {one.start: one for one in results.depth if one.hidden_layers == depth}
        if cell.network.batch_norm or not profiles:
            continue
        yield Block("6  Cause and proof, side by side", is_heading=True)
        yield Block(
            paragraph(
                f"{cell.network.name}: what was left of the difference between images and of the "
                "gradient before training, and what the training then did."
            )
        )
        rows = [
            [
                score.start,
                number(signal_left(profiles[score.start]), 2),
                number(gradient_left(profiles[score.start]), 2),
                _reached(score),
                _steps(score),
                _percent(fmean(score.accuracy)),
            ]
            for score in cell.scores
        ]
        headers = ["start", "signal left", "gradient left", "reached", "steps", "accuracy"]
        yield Block(table(headers, rows))
