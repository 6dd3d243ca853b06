"""The story, told from the results: the problem, its cause, its cure. `proof` has the rest.

No sentence here claims what the numbers do not say: whatever may come out otherwise on another
run is chosen by looking at them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from fanin._text import number, paragraph, sparkline, table
from fanin._tour.first_layer import SHOWN, FirstLayer
from fanin._tour.nets import HIDDEN_UNITS, TORCH_DEFAULT
from fanin._tour.signal import DepthProfile, gradient_left, middle, signal_left

__all__ = ["Block", "before_training", "opening"]

SPARKS = 10
LOWEST = 1e-6


@final
@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the story: a heading, or lines of at most 80 columns."""

    text: str
    is_heading: bool = False


def opening(starts: Sequence[str], seed: int) -> list[Block]:
    """What this is."""
    return [
        Block("fanin tour: do the starting weights of a net matter?", is_heading=True),
        Block(
            paragraph(
                "Every number below is computed now, on your machine, on 5,000 real handwritten "
                f"digits. Seed {seed}; starts: {', '.join(starts)}."
            )
        ),
    ]


def before_training(
    first_layer: Sequence[FirstLayer], depth: Sequence[DepthProfile]
) -> list[Block]:
    """The problem, the cause and the cure."""
    return [*_problem(first_layer), *_cause(depth), *_cure(first_layer)]


def _problem(rows: Sequence[FirstLayer]) -> Iterator[Block]:
    torch_own = next((row for row in rows if row.start == TORCH_DEFAULT), None)
    if torch_own is None:
        return
    yield Block("1  The problem: weights that nobody chose", is_heading=True)
    yield Block(
        paragraph(
            "SimpleNet has layers 784-128-64-10 with ReLU between. Nobody said what its weights "
            "start from, so torch drew each weight of a layer from U(-b, b), b = 1/sqrt(fan_in); "
            "fan_in is the number of inputs of a unit. For the first layer, fc1:"
        )
    )
    yield Block(_indented(_formula_table(torch_own)))
    yield Block(_indented(_weights_and_gradients(torch_own)))
    yield Block(paragraph(_verdict_on_formula(torch_own)))


def _formula_table(row: FirstLayer) -> str:
    return table(
        ["fc1.weight, [128, 784]", "formula", "drawn"],
        [
            ["b = 1/sqrt(fan_in), largest |w|", number(row.bound), number(row.largest)],
            ["variance = 1/(3 fan_in)", number(row.variance_by_formula), number(row.variance)],
        ],
    )


def _weights_and_gradients(row: FirstLayer) -> str:
    place = f"[0, {SHOWN.start}:{SHOWN.stop}]"
    return "\n".join(
        [
            f"net.fc1.weight{place}       {_numbers(row.weights)}",
            f"net.fc1.weight.grad         {row.gradient_before_backward}",
            f"loss.backward()             one pass over 200 digits, loss {number(row.loss)}",
            f"net.fc1.weight.grad{place}  {_numbers(row.gradients)}",
        ]
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{number(value):>9}" for value in values)


def _verdict_on_formula(row: FirstLayer) -> str:
    needed = 6 * row.variance_by_formula
    off = abs(row.variance / row.variance_by_formula - 1)
    fits = row.sampling_error is not None and off < 3 * row.sampling_error
    return (
        f"The drawn variance is {number(100 * off, 2)} % off its formula, which is "
        f"{'within' if fits else 'NOT within'} three sampling errors. A ReLU layer passes its "
        f"signal on at full size when the variance is 2/fan_in = {number(needed)}. torch's has "
        f"{number(row.variance / needed)} of that; by formula a sixth, whatever the layer's size."
    )


def _cause(profiles: Sequence[DepthProfile]) -> Iterator[Block]:
    yield Block("2  The cause: every layer multiplies the signal", is_heading=True)
    yield Block(
        paragraph(
            f"Plain ReLU nets of {HIDDEN_UNITS} units a layer, before any training. 'forward' is "
            "what one more layer multiplies the difference between images by (the std of its "
            "output over images), 'backward' what it multiplies the gradient by on its way back; "
            "'law' is sqrt(fan_in Var(w) / 2), what wide layers without biases do."
        )
    )
    yield Block(_indented(_depth_table(profiles)))
    yield Block(
        paragraph(
            "Bars: log scale, from a millionth or less to the largest of the column, the layers "
            "in the order in which signal and gradient meet them."
        )
    )
    yield from (Block(paragraph(_left_over(profile))) for profile in _deepest(profiles))


def _deepest(profiles: Sequence[DepthProfile]) -> list[DepthProfile]:
    depth = max(profile.hidden_layers for profile in profiles)
    return [profile for profile in profiles if profile.hidden_layers == depth]


def _depth_table(profiles: Sequence[DepthProfile]) -> str:
    forward = [middle(profile.apart) for profile in profiles]
    backward = [middle(profile.gradient)[::-1] for profile in profiles]
    tops = max(map(max, forward)), max(map(max, backward))
    rows = [
        [
            str(profile.hidden_layers),
            profile.start,
            f"×{number(profile.factor_by_formula)}",
            f"×{number(profile.apart_factor)}",
            _sparks(ahead, tops[0]),
            f"×{number(profile.gradient_factor)}",
            _sparks(back, tops[1]),
        ]
        for profile, ahead, back in zip(profiles, forward, backward, strict=True)
    ]
    headers = ["layers", "start", "law", "forward", "first→last", "backward", "last→first"]
    return table(headers, rows, left=(1, 4, 6))


def _sparks(values: Sequence[float], top: float) -> str:
    count = min(SPARKS, len(values))
    picked = [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
    return sparkline(picked, LOWEST * top, top, log=True)


def _left_over(profile: DepthProfile) -> str:
    """What is left at the last layer, and whether the layer then says the same of every image."""
    signal, gradient = number(signal_left(profile), 2), number(gradient_left(profile), 2)
    text = (
        f"{profile.start}: after {profile.hidden_layers} layers {signal} of the difference between "
        f"images is left, and {gradient} of the gradient."
    )
    size, apart = middle(profile.signal)[-1], middle(profile.apart)[-1]
    if size > 100 * apart:
        text += (
            f" The output itself is still {number(size, 2)} in size, but that is the biases: "
            "the net says the same of every image."
        )
    return text


def _cure(rows: Sequence[FirstLayer]) -> Iterator[Block]:
    yield Block("3  The cure: say the variance", is_heading=True)
    yield Block(
        paragraph(
            "Kaiming sets the variance to gain²/fan_in, gain² = 2 for ReLU, which keeps the signal "
            "on its way forward; Xavier to 2 gain²/(fan_in + fan_out), between forward and "
            "backward. Say it where the layer is made, or later, on the layer that is there:"
        )
    )
    yield Block(
        _indented(
            "fc1 = fanin.nn.Linear(784, 128,\n"
            '    weight_initializer=kaiming_normal("relu"), bias_initializer=Zeros)\n'
            "\n"
            "fanin.fill(net.fc1,\n"
            '    weight_initializer=xavier_uniform("relu"), bias_initializer=Zeros)'
        )
    )
    if any(row.afterwards_is_equal is not None for row in rows):
        yield Block(paragraph(_verdict_on_two_ways(rows)))
    yield Block("The starts of this tour, on fc1 of SimpleNet:")
    yield Block(_indented("\n".join(f"{row.start:<16} {row.formula}" for row in rows)))
    yield Block(_indented(_first_layer_table(rows)))
    yield Block(_indented(_samples_table(rows)))


def _verdict_on_two_ways(rows: Sequence[FirstLayer]) -> str:
    differing = [row.start for row in rows if row.afterwards_is_equal is False]
    if not differing:
        return "Done both ways after the same torch.manual_seed, the weights are equal bit for bit."
    return f"After the same torch.manual_seed the two ways DIFFER for {', '.join(differing)}."


def _first_layer_table(rows: Sequence[FirstLayer]) -> str:
    headers = ["start", "variance: law", "drawn", "largest |w|", "loss", "gradient (rms)"]
    return table(
        headers,
        [
            [
                row.start,
                number(row.variance_by_formula),
                number(row.variance),
                number(row.largest),
                number(row.loss),
                number(row.gradient_rms),
            ]
            for row in rows
        ],
    )


def _samples_table(rows: Sequence[FirstLayer]) -> str:
    place = f"[0, {SHOWN.start}:{SHOWN.start + 3}]"
    return table(
        ["start", f"fc1.weight{place}", f"fc1.weight.grad{place}"],
        [[row.start, _numbers(row.weights[:3]), _numbers(row.gradients[:3])] for row in rows],
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
