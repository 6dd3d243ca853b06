"""One line of a plan: a parameter, what is decided for it, why, and by whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Literal, TypeAlias, final

from fanin._errors import FaninError
from fanin._layout import Layout
from fanin._site import Site
from fanin.initializers import Initializer, ScaledOutputs
from fanin.recipes import Choice, Keep

__all__ = [
    "DecidedBy",
    "Entry",
    "Factor",
    "State",
    "Unclaimed",
    "by_name",
    "require_mapping",
    "scaled",
]

DecidedBy = Literal["recipe", "rule", "kept start", "nobody"]
State = Literal["filled", "kept", "unclaimed"]
Factor: TypeAlias = float | tuple[float, ...]
"""One number for a weight, or one for each of its outputs."""


@final
@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Nobody says how the parameter starts, for this reason."""

    why: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One parameter or buffer of a plan: the site, the decision, and who took it.

    ``by`` is ``recipe``, ``rule`` (of `Plan.replace`; ``rule`` is then its key), ``kept start``
    (a start that the model declares for itself) or ``nobody``.
    ``padding_row``: the row of an embedding that stays zero.
    ``factor``: what a calibration multiplied the initializer by; it is in the initializer already.
    ``measured``: the std of the output that it found before.

    >>> from fanin import Layout
    >>> from fanin.initializers import kaiming_normal
    >>> site = Site(name="fc.weight", layout=Layout((10, 200), "out in"))
    >>> entry = Entry(site=site, decision=Choice(kaiming_normal(), "keeps the signal"), by="recipe")
    >>> print(f"{entry.name}: {entry.state}, std {entry.std:.2f}")
    fc.weight: filled, std 0.10
    """

    site: Site
    decision: Choice | Keep | Unclaimed
    by: DecidedBy
    rule: str = ""
    padding_row: int | None = None
    factor: Factor | None = None
    measured: float | None = None

    @property
    def name(self) -> str:
        """The canonical name; it names the stream of random numbers too."""
        return self.site.name

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the other names of the same tensor."""
        return (self.site.name, *self.site.tied)

    @property
    def state(self) -> State:
        """``filled``, ``kept`` or ``unclaimed``."""
        if isinstance(self.decision, Choice):
            return "filled"
        return "kept" if isinstance(self.decision, Keep) else "unclaimed"

    @property
    def initializer(self) -> Initializer | None:
        """What is drawn; None for what is kept or unclaimed."""
        return self.decision.initializer if isinstance(self.decision, Choice) else None

    @property
    def why(self) -> str:
        """The reason for the decision."""
        return self.decision.why

    @property
    def paper(self) -> str:
        """Where the rule was published; empty where it was not."""
        return self.decision.paper if isinstance(self.decision, Choice) else ""

    @property
    def std(self) -> float:
        """The standard deviation that is drawn; not a number where there is none."""
        if self.initializer is None:
            return nan
        return self.initializer.std(self.axes)

    @property
    def axes(self) -> Layout:
        """The layout, or an empty one for an initializer that reads none."""
        return Layout((), "") if self.site.layout is None else self.site.layout

    @property
    def awaits_calibration(self) -> bool:
        """Whether its std is to be measured first."""
        asks = isinstance(self.decision, Choice) and self.decision.target_std is not None
        return asks and self.factor is None

    def check(self) -> None:
        """Raise FaninError, naming the parameter, where its initializer does not fit it."""
        if self.initializer is None:
            return
        if self.site.layout is None and self.initializer.needs_axes:
            raise FaninError(
                "the axes of this parameter are not known",
                where=self.name,
                found=f"{self.initializer!r}, which needs them",
                fix="use one that does not: Zeros, Constant, Normal, Uniform; or keep it: "
                'plan.replace({name: Keep("why")})',
            )
        try:
            self.initializer.std(self.axes)
        except FaninError as error:
            where = f"{self.name}, by {self.rule or self.by}: {error.where}"
            raise FaninError(error.what, where=where, found=error.found, fix=error.fix) from None

    def scaled(self, factor: Factor, measured: float | None) -> "Entry":
        """This entry with its initializer multiplied, for all outputs alike or one by one."""
        decision = self.decision
        if not isinstance(decision, Choice):
            raise FaninError(
                "only what is drawn can be scaled",
                where=self.name,
                found=f"{self.state}: {self.why}",
                fix="leave it out, or give it an initializer first: plan.replace({...})",
            )
        drawn = _multiplied(decision.initializer, factor)
        scaled = replace(
            self,
            decision=replace(decision, initializer=drawn),
            factor=_product(self.factor, factor),
            measured=measured,
        )
        scaled.check()
        return scaled


def by_name(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The entries by all their names; raises where two of them have one."""
    found: dict[str, Entry] = {}
    for entry in entries:
        for name in (*entry.names, *entry.site.stored):
            if found.setdefault(name, entry) is not entry:
                raise FaninError(
                    "two entries of a plan own one tensor",
                    where=name,
                    found=f"the entries {found[name].name} and {entry.name}",
                    fix="give one site for each tensor, with its other names in `tied`",
                )
    return found


def scaled(
    entries: Sequence[Entry], factors: Mapping[str, Factor], measured: Mapping[str, float]
) -> tuple[Entry, ...]:
    """``entries``, those that have a factor multiplied by it."""
    return tuple(
        entry.scaled(factors[entry.name], measured.get(entry.name))
        if entry.name in factors
        else entry
        for entry in entries
    )


def require_mapping(factors: object) -> None:
    """Raise FaninError for factors that do not say whose they are."""
    if not isinstance(factors, Mapping):
        raise FaninError(
            "factors are a mapping from a name to a number",
            where="plan.scaled",
            found=repr(factors)[:80],
            fix='plan.scaled({"head.weight": 0.5})',
        )


def _multiplied(initializer: Initializer, factor: Factor) -> Initializer:
    if not isinstance(factor, tuple):
        return initializer * factor
    if isinstance(initializer, ScaledOutputs):
        both = _product(initializer.factors, factor)
        assert isinstance(both, tuple)  # noqa: S101 - a product with a tuple is one
        return ScaledOutputs(initializer.base, both)
    return ScaledOutputs(initializer, factor)


def _product(first: Factor | None, second: Factor) -> Factor:
    """Both factors in one; a calibration may be repeated."""
    if first is None:
        return second
    if isinstance(first, tuple) and isinstance(second, tuple):
        return tuple(a * b for a, b in zip(first, second, strict=True))
    if isinstance(first, tuple):
        assert not isinstance(second, tuple)  # noqa: S101 - the case before
        return tuple(value * second for value in first)
    return tuple(first * value for value in second) if isinstance(second, tuple) else first * second
