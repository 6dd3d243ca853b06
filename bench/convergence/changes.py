"""steady with one rule changed: what tried.py trains, by task."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from types import MappingProxyType
from typing import Final

from fanin import Site, recipes
from fanin.initializers import (
    DeltaOrthogonal,
    ForgetGate,
    Initializer,
    LooksLinear,
    Normal,
    Orthogonal,
    Uniform,
    VarianceScaling,
    Zeros,
    xavier_uniform,
)
from fanin.recipes import Choice, Decision, Recipe
from fanin.recipes._steady_plain import deep_start, forward_gain

__all__ = ["CHANGES"]

Change = Callable[[Site, Mapping[str, Site]], Initializer | None]

PLAIN: Final = ("weight", "readout")
THIRD: Final = VarianceScaling(1 / sqrt(3), distribution="uniform")
"""torch's own std."""


def _decided(name: str, change: Callable[[Site, Mapping[str, Site], Decision], Decision]) -> Recipe:
    """What ``change`` makes of steady's decisions."""

    def read(sites: Sequence[Site]) -> Callable[[Site], Decision]:
        steady = recipes.steady.for_model(sites)
        known = {site.name: site for site in sites}
        return lambda site: change(site, known, steady(site))

    return Recipe(name, lambda _: None, name, read=read)


def _changed(name: str, change: Change) -> Recipe:
    """steady, save where ``change`` says something."""

    def decide(site: Site, known: Mapping[str, Site], steady: Decision) -> Decision:
        other = change(site, known)
        return steady if other is None else other

    return _decided(name, decide)


def _for_roles(name: str, roles: Sequence[str], make: Callable[[Site], Initializer]) -> Recipe:
    return _changed(name, lambda site, _: make(site) if site.role in roles else None)


def _torch_bias(site: Site, known: Mapping[str, Site]) -> Initializer | None:
    weight = known.get(site.name.replace("bias", "weight"))
    if site.role != "bias" or weight is None:
        return None
    bound = 1 / sqrt(weight.fan_in)
    return Uniform(-bound, bound)


def _gaussian(site: Site) -> Initializer:
    return VarianceScaling(forward_gain(site.activation))


def _alone(site: Site) -> Initializer:
    return Orthogonal(forward_gain(site.activation), keep="signal")


def _pairs(number: float) -> Callable[[Site], Initializer]:
    """Pairs everywhere in a run, with a gain for all but the first weight."""

    def make(site: Site) -> Initializer:
        if site.depth <= 1:
            return LooksLinear(position="first")
        return LooksLinear(number, position="last" if site.role == "readout" else "hidden")

    return make


def _orthogonal(number: float) -> Recipe:
    """A gain for a run of orthogonal weights, for all but the first."""

    def make(site: Site) -> Initializer:
        return Orthogonal(1.0 if site.depth <= 1 else number, keep="signal")

    return _for_roles(f"gain-{number:.4g}", PLAIN, make)


def _ends_alone(name: str, factor: Callable[[int], float]) -> Recipe:
    """All of a branch's factor at its end, for branches without norm of two weights."""

    def change(site: Site, _: Mapping[str, Site]) -> Initializer | None:
        if site.residual is not None:
            return _gaussian(site) * factor(site.residual.count)
        return _gaussian(site) if site.role == "weight" and site.plain_depth == 2 else None

    return _changed(name, change)


def _ends(name: str, power: float) -> Recipe:
    """The end of a branch of a normalized stream: torch's std times L^power."""

    def change(site: Site, _: Mapping[str, Site]) -> Initializer | None:
        return None if site.residual is None else THIRD * site.residual.count**power

    return _changed(name, change)


def _at_centre(site: Site) -> Initializer:
    gain = forward_gain(site.activation)
    return _alone(site) if site.role == "readout" else DeltaOrthogonal(gain)


def _first_at_centre(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return DeltaOrthogonal(1.0) if site.role == "weight" and site.depth <= 1 else None


def _usual_first(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return _gaussian(site) if site.role == "weight" and site.depth <= 1 else None


def _forget_zero(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return ForgetGate(0.0) if site.role == "bias" and "bias_ih" in site.name else None


def _positions_one(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return Normal(1.0) if site.role == "embedding" and "readout" not in site.other_roles else None


def _torch_before_norm(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return THIRD if site.normalized_output else None


def _orthogonal_before_norm(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return Orthogonal(sqrt(2), keep="signal") if site.normalized_output else None


def _readout_times(number: float) -> Recipe:
    """The readout as steady has it, larger."""

    def larger(site: Site, _: Mapping[str, Site], steady: Decision) -> Decision:
        is_readout = site.role == "readout" and isinstance(steady, Choice)
        return steady.initializer * number if is_readout else steady

    return _decided(f"readout-times-{number:g}", larger)


def _zero_biases(site: Site, _: Mapping[str, Site]) -> Initializer | None:
    return Zeros if site.role == "bias" else None


ZERO_BIASES = _changed("zero-biases", _zero_biases)
TORCH_BIASES = _changed("torch-biases", _torch_bias)
ALONE = _for_roles("not-paired", PLAIN, _alone)
PAIRED = _for_roles("paired", PLAIN, deep_start)
GAUSSIAN = _for_roles("not-orthogonal", PLAIN, _gaussian)
UNIT = _for_roles("unit-readout", ("readout",), lambda _: VarianceScaling(1.0))
TORCH = _for_roles("torch-readout", ("readout",), lambda _: THIRD)
LOUD = _for_roles("loud-readout", ("readout",), _gaussian)
USUAL = _for_roles(
    "usual-gains",
    PLAIN,
    lambda site: VarianceScaling(1.0) if site.role == "readout" else _gaussian(site),
)
"""Of runs of 3 or 4, what steady did before they were paired."""
SHORT = (USUAL, ALONE, UNIT, TORCH)
STEM = _changed("usual-stem", _usual_first)
"""Where a stem has an activation after it, the first branch is in its run, then one of three."""
BIASES = (ZERO_BIASES, TORCH_BIASES)
SHORT_NETS: Final = (
    "relu-3-sgd",
    "relu-4-adam",
    "gelu-3-sgd",
    "gelu-4-adam",
    "tanh-4-sgd",
    "conv-4-sgd",
    "conv-4-adam",
)
BRANCHES = (
    _ends_alone("end-zero", lambda _: 0.0),
    _ends_alone("end-1/L", lambda count: 1 / count),
    _ends_alone("end-1/sqrt(L)", lambda count: count**-0.5),
    _ends_alone("end-full", lambda _: 1.0),
)
POST_NORM = (_ends("ends-full", 0.0), _ends("ends-L^-0.25", -0.25))
TABLE = ("embedding",)

CHANGES: Final[Mapping[str, tuple[Recipe, ...]]] = MappingProxyType(
    {
        "simple-sgd": SHORT,
        "simple-0.3-sgd": SHORT,
        "simple-0.5-sgd": SHORT,
        "simple-adam": (*SHORT, *BIASES),
        "wave-4-adam": (*SHORT, *BIASES),
        "wave-2-adam": (PAIRED, *BIASES, LOUD, TORCH),
        "relu-10-adam": (ALONE, GAUSSIAN, *BIASES, TORCH),
        "gelu-10-adam": (ALONE, ZERO_BIASES),
        "conv-10-adam": (
            ALONE,
            _for_roles("not-paired-at-centre", PLAIN, _at_centre),
            _changed("first-at-centre", _first_at_centre),
        ),
        "residual-mlp-32-momentum": (*BRANCHES, TORCH),
        "residual-mlp-32-adam": (*BRANCHES, TORCH),
        "residual-conv-8-momentum": (TORCH, STEM),
        "residual-conv-8-adam": (TORCH, STEM),
        "resnet-batch-norm-momentum": (
            _changed("torch-std-before-norm", _torch_before_norm),
            TORCH,
        ),
        "resnet-batch-norm-adam": (
            _changed("orthogonal-before-norm", _orthogonal_before_norm),
            TORCH,
        ),
        "siren": tuple(_readout_times(one) for one in (0.1, 3.0, 10.0, 30.0)),
        "lstm-momentum": (TORCH,),
        "lstm-adam": (
            _changed("forget-0", _forget_zero),
            _for_roles("recurrent-xavier", ("recurrent",), lambda _: xavier_uniform()),
            _for_roles("recurrent-torch", ("recurrent",), lambda _: THIRD),
            TORCH,
        ),
        "pre-norm-6": (
            _ends("ends-full", 0.0),
            _for_roles("qkv-0.02", ("query_key_value",), lambda _: Normal(0.02)),
            _for_roles("tables-0.02", TABLE, lambda _: Normal(0.02)),
            UNIT,
        ),
        "pre-norm-6-momentum": (_ends("ends-full", 0.0), TORCH_BIASES),
        "pre-norm-6-tied": (
            _changed("positions-1", _positions_one),
            _for_roles("tables-1", TABLE, lambda _: Normal(1.0)),
            _for_roles("tables-0.02", TABLE, lambda _: Normal(0.02)),
        ),
        "tanh-30-momentum": tuple(_orthogonal(one) for one in (1.0, 1.15, 1.345, 1.45, 5 / 3)),
        "selu-30-adam": (_for_roles("paired", PLAIN, _pairs(0.5043)), _orthogonal(1.0)),
        "relu-2-sgd": (PAIRED,),
        **dict.fromkeys(SHORT_NETS, (USUAL,)),
        "elu-30-adam": (_for_roles("paired", PLAIN, _pairs(0.6543)),),
        "mish-30-adam": (ALONE,),
        "sigmoid-30-adam": (ALONE,),
        "post-norm-6": (*POST_NORM, UNIT),
        "post-norm-12": POST_NORM[:1],
    }
)
