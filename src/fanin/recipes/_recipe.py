"""What a recipe is: a named function from a site to a choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from fanin._errors import FaninError
from fanin._numbers import is_number
from fanin._site import Site, SiteRole
from fanin.initializers import Initializer

__all__ = ["Choice", "Decision", "Keep", "Recipe", "RecipeLike", "as_recipe"]


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """An initializer for one parameter, with the reason as a sentence, and the paper.

    ``target_std``: the std that its output is to have; `fanin.Plan.calibrate` measures it and
    turns it into a number. None: what the initializer says is what is drawn.

    Raises:
        FaninError: if it holds no initializer, or the target is not a positive number.

    >>> from fanin.initializers import Normal
    >>> Choice(Normal(0.02), "GPT-2 draws every matrix so.").initializer.std(None)
    0.02
    """

    initializer: Initializer
    why: str
    paper: str = ""
    target_std: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.initializer, Initializer):
            raise FaninError(
                "a choice holds an initializer",
                where="recipes.Choice",
                found=repr(self.initializer)[:80],
                fix="give a value, such as Zeros or Normal(0.02); "
                "as_initializer turns a name or a function into one",
            )
        # An infinite or reversed target would be found only after the calibration's forward pass.
        target = self.target_std
        if target is not None and not (is_number(target) and 0 < target < float("inf")):
            raise FaninError(
                "target_std is not a positive number",
                where="recipes.Choice",
                found=f"target_std={target!r}",
                fix="give the std that the output is to have, usually 1.0, or leave it out",
            )


@final
@dataclass(frozen=True, slots=True)
class Keep:
    """The parameter stays as its module made it, for this reason.

    >>> Keep("A buffer is state, not a weight.").why
    'A buffer is state, not a weight.'
    """

    why: str


Decision: TypeAlias = Choice | Keep | Initializer | None
"""What a recipe says of a site; None where it has no rule, so that the plan shows it."""


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """A named function from a `Site` to a `Choice`, a `Keep`, or None where it has no rule.

    ``formula`` says it in one line, ``paper`` whose it is. ``refuse`` looks at all sites and
    returns why the scheme does not apply to this model, or None. A scheme that counts layers, or
    needs a neighbour, gives ``read``: from all sites to the function that then replaces ``choose``.
    ``overrides``: the roles whose start, though the model declares one, this scheme sets.
    ``no_rule``: a sentence that says for what it has no rule, and why; a plan shows it beside what
    nobody claims.

    >>> from fanin import Layout, Site
    >>> from fanin.initializers import Normal
    >>> small = Recipe("small", lambda site: Normal(0.01), "w ~ N(0, 0.01²)")
    >>> small(Site(name="fc.weight", layout=Layout((10, 64), "out in")))
    Normal(0.01)
    """

    name: str
    choose: Callable[[Site], Decision]
    formula: str
    paper: str = ""
    refuse: Callable[[Sequence[Site]], str | None] | None = None
    read: Callable[[Sequence[Site]], Callable[[Site], Decision]] | None = None
    overrides: frozenset[SiteRole] = frozenset()
    no_rule: str = ""

    def __call__(self, site: Site) -> Decision:
        """The decision for this site.

        Raises:
            FaninError: if the recipe's function fails, or returned something else.
        """
        try:
            found = self.choose(site)
        except FaninError:
            raise
        except Exception as error:
            raise FaninError(
                "the recipe's function failed",
                where=f"the recipe {self.name}, for {site.name}",
                found=f"{type(error).__name__}: {error}",
                fix="a recipe takes a site, and returns a Choice, a Keep, an initializer or None",
            ) from error
        if found is None or isinstance(found, Choice | Keep | Initializer):
            return found
        raise FaninError(
            "a recipe's decision is a Choice, a Keep, an initializer or None",
            where=f"the recipe {self.name}, for {site.name}",
            found=repr(found)[:80],
            fix="return a value, such as Choice(Normal(0.02), 'why') or Keep('why'); "
            "as_initializer turns a name or a function into an initializer",
        )

    def for_model(self, sites: Sequence[Site]) -> "Recipe":
        """This recipe when it has seen all sites of one model.

        Raises:
            FaninError: if the scheme needs something that this model does not have.
        """
        why_not = self.refuse(sites) if self.refuse else None
        if why_not is not None:
            raise FaninError(
                f"the recipe {self.name} does not apply to this model",
                where=f"recipes.{self.name}: {self.formula}",
                found=why_not,
                fix="use another recipe: recipes.steady decides by what it finds",
            )
        return self if self.read is None else replace(self, choose=self.read(sites), read=None)

    def __str__(self) -> str:
        return f"{self.name}: {self.formula}" + (f" ({self.paper})" if self.paper else "")


RecipeLike: TypeAlias = Recipe | Callable[[Site], Decision]
"""A recipe, or a plain function from a `Site` to a decision."""


def as_recipe(value: RecipeLike) -> Recipe:
    """The recipe that is meant: itself, or a plain function under its own name.

    The first line of the function's docstring is its formula.

    Raises:
        FaninError: for anything else, such as a name: `named` looks those up.

    >>> from fanin.initializers import Zeros
    >>> def nothing(site):
    ...     "w = 0, everywhere"
    ...     return Zeros
    >>> print(as_recipe(nothing))
    nothing: w = 0, everywhere
    """
    if isinstance(value, Recipe):
        return value
    if not callable(value) or isinstance(value, type | Initializer):
        given: object = value
        by_name = f"recipes.named({given!r})" if isinstance(given, str) else "recipes.named(name)"
        raise FaninError(
            "this is not a recipe",
            where="recipe=",
            found=repr(value)[:80],
            fix=f"names are looked up by fanin.{by_name}; else give a Recipe such as "
            "fanin.recipes.steady, or a function from a site to a Choice",
        )
    name = getattr(value, "__name__", type(value).__name__)
    text = (getattr(value, "__doc__", None) or "").strip()
    return Recipe(name, value, text.splitlines()[0] if text else f"as {name}(site) says")
