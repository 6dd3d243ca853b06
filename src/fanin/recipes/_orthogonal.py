"""orthogonal: W = gain Q for every matrix; and lsuv, which then measures."""

from functools import partial
from math import sqrt
from typing import Final, Literal

from fanin._site import Site
from fanin.initializers import DeltaOrthogonal, Initializer, Orthogonal
from fanin.recipes._common import NO_RULE, is_matrix, others, table
from fanin.recipes._recipe import Choice, Decision, Recipe
from fanin.recipes._variance import activation_gain, number_gain

__all__ = ["lsuv", "orthogonal", "orthogonal_matrices"]

Kept = Literal["norm", "signal", "gradient"]

_SAXE: Final = (
    "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning in deep linear neural "
    "networks"
)
_LSUV: Final = "Mishkin & Matas 2016, All you need is a good init, algorithm 1"


def orthogonal_matrices(
    name: str = "orthogonal_matrices",
    *,
    gain: float | None = None,
    keep: Kept = "signal",
    delta: bool = False,
    paper: str = _SAXE,
) -> Recipe:
    """W = gain Q, Q orthogonal, for every matrix, gate, group and expert; b = 0.

    ``gain=None``: that of the activation at the input of each weight. ``keep`` is as in
    `Orthogonal`: ``"signal"`` keeps the mean square where a layer widens, ``"norm"`` all singular
    values equal. ``delta=True`` puts a convolution's matrix at the centre tap
    (`DeltaOrthogonal`). Recurrent matrices have gain 1; lookup tables are N(0, 1), or
    N(0, 1 / width) where the table is the readout too; norms are kept.

    Raises:
        FaninError: for an unknown ``keep``, or a gain that is not a number.

    >>> from fanin import Layout, Site
    >>> conv = Site(name="conv.weight", layout=Layout((8, 8, 3), "out in kernel"))
    >>> print(orthogonal_matrices(delta=True, keep="norm")(conv).initializer)
    W = Q at the centre tap, Q orthogonal
    """
    choose = partial(_choose, gain=gain, keep=keep, delta=delta, paper=paper)
    size = "relu" if gain is None else number_gain(name, gain)
    form = _matrix(size, keep=keep, delta=delta)
    formula = str(form).replace("gain(relu)", "gain(activation)")
    return Recipe(name, choose, f"{formula}; b = 0", paper, no_rule=NO_RULE)


def _matrix(gain: float | str, *, keep: Kept, delta: bool) -> Initializer:
    return DeltaOrthogonal(gain, keep=keep) if delta else Orthogonal(gain, keep=keep)


def _choose(site: Site, *, gain: float | None, keep: Kept, delta: bool, paper: str) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "embedding":
        return table(site)
    if site.role == "recurrent":
        return _recurrent(paper)
    if gain is None:
        size: float | str
        size, told = activation_gain(site.activation)
        why = f"Its input passed {told}: the {keep} is kept."
    else:
        size, why = gain, f"The gain is {gain:g}, whatever the activation is: the {keep} is kept."
    return Choice(_matrix(size, keep=keep, delta=delta), why, paper)


def _recurrent(paper: str) -> Choice:
    why = "Each gate's matrix is orthogonal, so the state keeps its length from step to step."
    return Choice(Orthogonal(), why, paper)


orthogonal: Final = orthogonal_matrices("orthogonal")


def _measured(site: Site) -> Decision:
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "embedding":
        return table(site)
    if site.role == "recurrent":
        return _recurrent(_LSUV)
    if site.role == "residual_out" and site.residual is not None:
        why = (
            "Its output is measured and divided to std 1 / sqrt(writers): together they add a "
            "variance of 1 to their stream, where std 1 each would make it grow with depth."
        )
        return Choice(Orthogonal(), why, _LSUV, target_std=1 / sqrt(site.residual.count))
    return Choice(Orthogonal(), "Its output is measured and divided to std 1.", _LSUV, 1.0)


lsuv: Final = Recipe(
    "lsuv",
    _measured,
    "W = Q / std(output), measured in the order of execution; b = 0",
    _LSUV,
    no_rule=NO_RULE,
)
