"""What to do, as code that can be pasted where fanin and torch are imported.

It names ``model`` and ``batch``, as they were given to `fanin.audit`.
"""

from collections.abc import Sequence
from textwrap import wrap

from fanin._site import Site
from fanin.initializers import Initializer, Normal, VarianceScaling

__all__ = ["advice", "ones", "redraw", "redraw_as", "set_to", "start", "start_of", "trainable"]

_WIDTH = 76
"""What a terminal of 80 columns has room for beside the indent of a finding."""


def start() -> str:
    """Every weight anew: for what is wrong with many."""
    return "fanin.initialize(model, batch)"


def redraw(names: Sequence[str]) -> str:
    """These parameters anew, as the default plan says, and no other.

    >>> print(redraw(["4.weight"]))
    names = {"4.weight"}
    others = fanin.recipes.Keep("healthy")
    plan = fanin.plan(model, batch)
    plan = plan.replace({lambda site: site.name not in names: others})
    plan.apply(model)
    """
    return (
        f"{_bracketed('names = {', _quoted(names), '}')}\n"
        'others = fanin.recipes.Keep("healthy")\n'
        "plan = fanin.plan(model, batch)\n"
        "plan = plan.replace({lambda site: site.name not in names: others})\n"
        "plan.apply(model)"
    )


def redraw_as(starts: Sequence[tuple[str, Initializer | float]], *, are_all: bool = False) -> str:
    """These parameters by these starts, and no other: where a plan would keep what they are.

    ``are_all``: there is no other, and a rule for others would match nothing.

    >>> print(redraw_as([("4.bias", 0)]))
    starts = {"4.bias": 0}
    others = fanin.recipes.Keep("healthy")
    plan = fanin.plan(model, batch)
    plan = plan.replace({**starts, lambda one: one.name not in starts: others})
    plan.apply(model)
    """
    rules = [f'"{name}": {_written(value)}' for name, value in starts]
    lines = [
        _bracketed("starts = {", rules, "}"),
        'others = fanin.recipes.Keep("healthy")',
        "plan = fanin.plan(model, batch)",
        "plan = plan.replace({**starts, lambda one: one.name not in starts: others})",
        "plan.apply(model)",
    ]
    if are_all:
        lines[1:4] = ["plan = fanin.plan(model, batch).replace(starts)"]
    return "\n".join(lines)


def start_of(site: Site) -> Initializer:
    """A usual start for a matrix of which a plan would keep the values that it has."""
    if site.role == "embedding":
        # A table that is read out as well is as large as a readout.
        is_tied = "readout" in site.other_roles and site.layout is not None
        width = site.layout.shape[-1] if is_tied and site.layout is not None else 1
        return Normal(float(f"{width**-0.5:.3g}"))
    if site.role == "residual_out" and site.residual is not None:
        return VarianceScaling(float(f"{site.residual.count**-0.5:.3g}"))
    return VarianceScaling(site.activation if isinstance(site.activation, str) else 1.0)


def set_to(name: str, value: float) -> str:
    """One parameter to a constant."""
    return f'torch.nn.init.constant_(model.get_parameter("{name}"), {value:g})'


def ones(names: Sequence[str]) -> str:
    """These parameters to 1."""
    return f"{_each(names)}\n    torch.nn.init.ones_(model.get_parameter(name))"


def trainable(names: Sequence[str]) -> str:
    """These parameters to be trained again."""
    return f"{_each(names)}\n    model.get_parameter(name).requires_grad_()"


def advice(text: str) -> str:
    """What no start can do, as a comment: it can be pasted, and changes nothing."""
    return "\n".join(wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# "))


def _written(value: Initializer | float) -> str:
    return f"fanin.initializers.{value!r}" if isinstance(value, Initializer) else f"{value:g}"


def _each(names: Sequence[str]) -> str:
    return _bracketed("for name in (", _quoted(names), "):", last=",")


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _bracketed(head: str, entries: Sequence[str], tail: str, *, last: str = "") -> str:
    """The entries in one line; one a line where that would be too long."""
    line = f"{head}{', '.join(entries)}{last}{tail}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([head, *map(_alone, entries), tail])


def _alone(entry: str) -> str:
    line = f"    {entry},"
    key, colon, value = entry.partition(": ")
    return line if len(line) <= _WIDTH or not colon else f"    {key}:\n        {value},"
