"""What to do, as code that can be pasted: it names ``model`` and ``batch``, and imports fanin."""

from collections.abc import Sequence
from textwrap import wrap

from fanin._site import Site, SiteActivation
from fanin.initializers import Initializer, Normal, VarianceScaling

__all__ = ["advice", "redraw", "redraw_as", "set_to", "start", "start_of", "trainable"]


def start() -> str:
    """Every weight anew: for what is wrong with many."""
    return "fanin.initialize(model, batch)"


def redraw(names: Sequence[str]) -> str:
    """These parameters anew, as the default plan says, and no other.

    >>> print(redraw(["4.weight"]))
    plan = fanin.plan(model, batch)
    others = fanin.recipes.Keep("healthy")
    plan = plan.replace({lambda site: site.name not in {"4.weight"}: others})
    plan.apply(model)
    """
    chosen = _quoted(names)
    return (
        "plan = fanin.plan(model, batch)\n"
        'others = fanin.recipes.Keep("healthy")\n'
        f"plan = plan.replace({{lambda site: site.name not in {{{chosen}}}: others}})\n"
        "plan.apply(model)"
    )


def redraw_as(starts: Sequence[tuple[str, Initializer | float]]) -> str:
    """These parameters by these starts, and no other: where a plan would keep what they are.

    >>> print(redraw_as([("4.bias", 0)]))
    others = fanin.recipes.Keep("healthy")
    plan = fanin.plan(model, batch)
    plan = plan.replace({"4.bias": 0, lambda site: site.name not in {"4.bias"}: others})
    plan.apply(model)
    """
    chosen = _quoted([name for name, _ in starts])
    rules = ", ".join(f'"{name}": {_written(value)}' for name, value in starts)
    return (
        'others = fanin.recipes.Keep("healthy")\n'
        "plan = fanin.plan(model, batch)\n"
        f"plan = plan.replace({{{rules}, lambda site: site.name not in {{{chosen}}}: others}})\n"
        "plan.apply(model)"
    )


def start_of(site: Site) -> Initializer:
    """A usual start for a matrix of which a plan would keep the values that it has."""
    if site.role == "embedding":
        return Normal(1.0)
    return VarianceScaling(_gain(site.activation))


def _gain(activation: SiteActivation) -> SiteActivation | float:
    return activation if isinstance(activation, str) else 1.0


def set_to(name: str, value: float) -> str:
    """One parameter to a constant."""
    return f'torch.nn.init.constant_(model.get_parameter("{name}"), {value:g})'


def trainable(names: Sequence[str]) -> str:
    """These parameters to be trained again."""
    return f"for name in ({_quoted(names)},):\n    model.get_parameter(name).requires_grad_()"


def advice(text: str) -> str:
    """What no start can do, as a comment: it can be pasted, and changes nothing."""
    return "\n".join(wrap(text, 76, initial_indent="# ", subsequent_indent="# "))


def _written(value: Initializer | float) -> str:
    return f"fanin.initializers.{value!r}" if isinstance(value, Initializer) else f"{value:g}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
