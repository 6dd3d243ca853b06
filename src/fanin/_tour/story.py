"""The story up to the trainings, told from the results: problem, cause, cure. `proof` has the end.

No sentence here claims what the numbers do not say: whatever may come out otherwise on another
run is chosen by looking at them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from fanin._audit import Report
from fanin._audit._page.series import MEASURES
from fanin._audit._page.summary import tiles_of
from fanin._audit._print import findings_text, verdict
from fanin._compare import Comparison
from fanin._plan import Plan
from fanin._plan._told._rows import rows_of
from fanin._text import number, paragraph, sparkline, table
from fanin._tour.measure import SHOWN
from fanin._tour.nets import DEPTH, UNITS
from fanin._tour.results import FirstLayer, Layer, Results

__all__ = ["Block", "before_training", "opening"]

_COURSES: Final = {"inputs apart (log)": "batch_std", "gradient (log)": "gradient"}
_LOWEST: Final = 1e-6
"""Of the largest value, what is drawn at the bottom."""


@final
@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the story: lines of at most 80 columns.

    ``drawn`` is what the page draws beside it: two audits of one model, or a comparison.
    """

    text: str
    kind: Literal["heading", "text", "code"] = "text"
    drawn: tuple[Report, Report] | Comparison | None = None


def opening(recipes: Sequence[str], seed: int) -> list[Block]:
    """What this is."""
    return [
        Block("fanin tour: do the starting weights of a net matter?", "heading"),
        _said(
            "Every number below is computed now, on your machine, on 5,000 real handwritten "
            f"digits. Seed {seed}; starts: {', '.join(recipes)}."
        ),
    ]


def before_training(results: Results) -> list[Block]:
    """One layer by hand, then the problem, the cause and the cure of a deep net."""
    return [
        *_one_layer(results),
        *_problem(results.before),
        *_cure(results.plan),
        *_again(results.before, results.after),
    ]


def _said(text: str) -> Block:
    return Block(paragraph(text))


def _one_layer(results: Results) -> Iterator[Block]:
    own, initialized = results.own, results.initialized
    yield Block("1  One layer: what nobody chose", "heading")
    yield _said(
        "SimpleNet has layers 784-128-64-10 with ReLU between. Nobody says what its weights start "
        "from, so torch does. Its first layer, before and after one pass over 200 digits:"
    )
    yield Block(_by_hand(own), "code")
    yield _said("And the same net after one line of fanin:")
    yield Block(_by_fanin(initialized, results.seed), "code")
    yield _said(
        "torch draws the weights of a layer from U(-b, b), b = 1/sqrt(fan_in), fan_in being the "
        "number of inputs of a unit: whatever the layer, fan_in Var(w) is 1/3. A ReLU passes on "
        "half of the mean square, so behind one it takes 2 to keep a signal at its size, and 1 at "
        "the inputs, which are as they come."
    )
    yield Block(_layers_table(results.layers), "code")
    yield _said(_off_by(results.layers))


def _by_hand(look: FirstLayer) -> str:
    place = f"[0, {SHOWN.start}:{SHOWN.stop}]"
    return "\n".join(
        [
            "net = SimpleNet()",
            f"net.fc1.weight{place}       {_numbers(look.weights)}",
            f"net.fc1.weight.grad                 {look.gradient_before}",
            f"cross_entropy(net(images), labels)  {number(look.loss)}; then loss.backward()",
            f"net.fc1.weight.grad{place}  {_numbers(look.gradients)}",
        ]
    )


def _by_fanin(look: FirstLayer, seed: int) -> str:
    place = f"[0, {SHOWN.start}:{SHOWN.stop}]"
    return "\n".join(
        [
            f"plan = fanin.initialize(net, images, seed={seed})",
            f"net.fc1.weight{place}       {_numbers(look.weights)}",
            f"cross_entropy(net(images), labels)  {number(look.loss)}; then loss.backward()",
            f"net.fc1.weight.grad{place}  {_numbers(look.gradients)}",
        ]
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{number(value):>9}" for value in values)


def _layers_table(layers: Sequence[Layer]) -> str:
    headers = ["fan_in Var(w)", "fan_in", "torch", "fanin", "fanin draws"]
    rows = [
        [
            layer.name,
            f"{layer.fan_in:g}",
            number(layer.own),
            number(layer.initialized),
            layer.start,
        ]
        for layer in layers
    ]
    return table(headers, rows, left=(0, 4))


def _off_by(layers: Sequence[Layer]) -> str:
    off = {layer.name: abs(3 * layer.own - 1) / layer.error for layer in layers}
    outside = [name for name, errors in off.items() if errors > 3]
    within = "within three sampling errors of 1/3"
    if outside:
        return f"torch's own is NOT {within} at {', '.join(outside)}."
    return f"torch's own is {within} in every layer."


def _problem(before: Report) -> Iterator[Block]:
    yield Block("2  The problem, and its cause: many layers", "heading")
    yield _said(
        f"TenLayers has {DEPTH} hidden layers of {UNITS} units with ReLU, no norms, no residual "
        "sums, and torch's own start. What fanin.audit(net, images, target=labels) measures in one "
        "pass forward and backward:"
    )
    yield Block(f"{_tiles([before])}\n\n{_verdict(before)}", "code")


def _verdict(report: Report) -> str:
    found = findings_text(report.findings)
    return "\n\n".join(filter(None, [verdict(report), found]))


def _tiles(reports: Sequence[Report], names: Sequence[str] = ("",)) -> str:
    """The head numbers of the reports side by side, and what they are to be read against."""
    columns = [tiles_of(report)[:-1] for report in reports]
    rows = [
        [group[0].label, *(tile.value for tile in group)] for group in zip(*columns, strict=True)
    ]
    rows += [[name, *_courses(reports, measure)] for name, measure in _COURSES.items()]
    return table(["TenLayers", *names], rows)


def _courses(reports: Sequence[Report], measure: str) -> list[str]:
    """A measure from the first layer to the last, a character each, all on one log scale."""
    courses = [[MEASURES[measure](layer) or 0.0 for layer in one.layers] for one in reports]
    top = max(map(max, courses))
    return [sparkline(course, _LOWEST * top, top, log=True) for course in courses]


def _cure(plan: Plan) -> Iterator[Block]:
    yield Block("3  The cure: a start for each place, with its reason", "heading")
    yield _said(
        "fanin.initialize(net, images) runs the net once, sees what each parameter does, decides "
        f"for each of its {len(plan)} tensors, and draws. print(plan) shows:"
    )
    yield Block("\n\n".join(_decisions(plan)), "code")


def _decisions(plan: Plan) -> Iterator[str]:
    """What each group of parameters is drawn from, and the reason of several only once."""
    rows = rows_of(list(plan)).filled
    for why in dict.fromkeys(row.why for row in rows):
        drawn = [f"{row.names}: {row.start}" for row in rows if row.why == why]
        yield "\n".join([*drawn, paragraph(why, indent=4)])


def _again(before: Report, after: Report) -> Iterator[Block]:
    yield _said("The audit of the same net again, beside the one before:")
    text = f"{_tiles([before, after], ('before', 'after'))}\n\n{_verdict(after)}"
    yield Block(text, "code", (before, after))
