"""The classics by variance: Kaiming, Xavier, LeCun, and any other choice of gain and fan."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Literal

from fanin._errors import FaninError
from fanin._gains import Convention, canonical
from fanin._gains import gain as gain_of
from fanin._numbers import is_number
from fanin._site import Site, SiteActivation
from fanin.initializers import VarianceScaling
from fanin.recipes._common import NO_RULE, is_matrix, others, table
from fanin.recipes._recipe import Choice, Decision, Recipe

__all__ = ["activation_gain", "kaiming", "lecun", "number_gain", "variance_scaling", "xavier"]

Fan = Literal["in", "out", "avg", "geometric"]


def variance_scaling(
    name: str = "variance_scaling",
    *,
    gain: float | None = None,
    fan: Fan = "in",
    distribution: Literal["normal", "uniform"] = "normal",
    cut: float | None = None,
    paper: str = "",
) -> Recipe:
    """std = gain / sqrt(fan) for every matrix, b = 0: `kaiming`, `xavier`, `lecun` and the like.

    ``gain=None``: the gain of the activation at the input of each weight; with ``fan="out"``,
    which keeps the gradient, that of the activation after it, by the backward convention.
    Lookup tables are N(0, 1), or N(0, 1 / width) where the table is the readout too; norms are
    kept. ``name`` is how plans and comparisons call it.

    Raises:
        FaninError: for an unknown fan or distribution, or a gain that is not a number.

    >>> from fanin import Layout, Site
    >>> site = Site(name="fc.weight", layout=Layout((50, 200), "out in"), activation="relu")
    >>> print(variance_scaling(fan="out", distribution="uniform", gain=1.0)(site).initializer)
    w ~ U(-b, b), b = sqrt(3 / fan_out)
    """
    # relu stands for the activation that each site will name.
    size = "relu" if gain is None else number_gain(name, gain)
    form = VarianceScaling(size, fan=fan, distribution=distribution, cut=cut)
    choose = partial(_choose, form=form, paper=paper)
    where = "gain(activation after)" if fan == "out" else "gain(activation)"
    formula = str(form).replace("gain(relu)", where)
    return Recipe(name, choose, f"{formula}; b = 0", paper, no_rule=NO_RULE)


def _choose(site: Site, *, form: VarianceScaling, paper: str) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "embedding":
        return table(site)
    if not isinstance(form.gain, str):
        told = f"The gain is {form.gain:g}, whatever the activation is"
        return Choice(form, f"{told}: {_AIMS[form.fan]}, where the layer is linear.", paper)
    backward = form.fan == "out"
    activation = site.activation_after if backward else site.activation
    convention: Convention = "backward" if backward else "forward"
    gain, told = activation_gain(activation, convention)
    chosen = VarianceScaling(
        gain,
        fan=form.fan,
        distribution=form.distribution,
        cut=form.cut,
        convention=convention if isinstance(gain, str) else "forward",
    )
    passes = "Its output passes" if backward else "Its input passed"
    return Choice(chosen, f"{passes} {told}: {_AIMS[form.fan]}.", paper)


_AIMS: Final[Mapping[Fan, str]] = MappingProxyType(
    {
        "in": "the signal keeps its mean square",
        "out": "the gradient keeps its mean square",
        "avg": "a compromise between signal and gradient",
        "geometric": "a compromise between signal and gradient",
    }
)


def number_gain(name: str, gain: object) -> float:
    """``gain`` as a number; an activation here would be ignored, since each site has its own."""
    if is_number(gain):
        return float(gain)
    raise FaninError(
        "the gain of a recipe is a number",
        where=f"the recipe {name}",
        found=f"gain={gain!r}"[:80],
        fix="give fanin.gain(activation), or leave it out: each weight has its own activation",
    )


def activation_gain(
    activation: SiteActivation, convention: Convention = "forward"
) -> tuple[float | str, str]:
    """The gain of what was found around a weight, and words for it.

    A name stays a name; a function without a name becomes a number, so that a plan can be saved.
    Where there is no gain it is 1, and the words say so.
    """
    try:
        known = canonical(activation)
        number = gain_of(activation, convention=convention)
    except FaninError as error:
        called = activation if isinstance(activation, str) else "a function"
        return 1.0, f"{called}, whose gain is taken as 1 ({error.what})"
    if known == "identity":
        return 1.0, "no activation"
    if isinstance(known, str):
        return known, f"{known}, with its gain"
    return number, "a function without a name, with its gain"


kaiming: Final = variance_scaling(
    "kaiming", paper="He et al. 2015, Delving deep into rectifiers, eq. 10"
)
xavier: Final = variance_scaling(
    "xavier",
    gain=1.0,
    fan="avg",
    distribution="uniform",
    paper="Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural "
    "networks, eq. 16",
)
lecun: Final = variance_scaling(
    "lecun", gain=1.0, paper="LeCun et al. 1998, Efficient BackProp, section 4.6"
)
