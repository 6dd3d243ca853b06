"""What one tour does: which nets, how long, with which recipes and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, final

from fanin import recipes
from fanin._errors import FaninError, nearest
from fanin._tour.nets import SIMPLE_NET, TEN_LAYERS, Network
from fanin.recipes import Recipe

__all__ = ["OWN", "Settings", "fast_settings", "full_settings"]

OWN: Final = "own"
"""The name of the start that a model is made with."""
_MOST_SEEDS: Final = 1 << 20
_SEEDS_EACH: Final = 10_000
"""More than a comparison uses, so that no two tours share any."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a tour's numbers; a training is ``steps`` of plain SGD.

    It arrives when its mean training loss over some batches is at most ``target``.
    """

    recipes: Mapping[str, Recipe | None]
    networks: tuple[Network, ...]
    seed: int
    tuning_seeds: int
    scoring_seeds: int
    steps: int = 400
    target: float = 0.3

    @property
    def first_seed(self) -> int:
        """Of the trainings."""
        return _SEEDS_EACH * self.seed


def full_settings(names: Sequence[str], seed: int) -> Settings:
    """Both nets, each without and with batch norm.

    Raises:
        FaninError: for a name that is no recipe's, one given twice, or none; for a seed out of
            range.
    """
    nets = product((SIMPLE_NET, TEN_LAYERS), (False, True))
    return Settings(
        recipes=_recipes(names),
        networks=tuple(Network(name, batch_norm) for name, batch_norm in nets),
        seed=_checked(seed),
        tuning_seeds=2,
        scoring_seeds=6,
    )


def fast_settings(names: Sequence[str], seed: int) -> Settings:
    """A shorter look: the deep net alone, on fewer seeds; errors as `full_settings`."""
    return Settings(
        recipes=_recipes(names),
        networks=(Network(TEN_LAYERS), Network(TEN_LAYERS, batch_norm=True)),
        seed=_checked(seed),
        tuning_seeds=1,
        scoring_seeds=4,
    )


def _recipes(names: Sequence[str]) -> dict[str, Recipe | None]:
    if not names or len(set(names)) < len(names):
        raise FaninError(
            "no recipe is named" if not names else "a recipe is named twice",
            where="fanin tour --recipes",
            found=", ".join(names) or "nothing",
            fix="name one or more, each once, such as own,kaiming,steady",
        )
    return {name: None if name == OWN else _named(name) for name in names}


def _named(name: str) -> Recipe:
    if name in recipes.names():
        return recipes.named(name)
    raise FaninError(
        "there is no recipe of this name",
        where="fanin tour --recipes",
        found=repr(name),
        fix=f"use one of: {nearest(name, (OWN, *recipes.names()))}",
    )


def _checked(seed: int) -> int:
    if 0 <= seed < _MOST_SEEDS:
        return seed
    raise FaninError(
        "the seed is out of range",
        where="fanin tour --seed",
        found=seed,
        fix=f"give an integer from 0 to {_MOST_SEEDS - 1}",
    )
