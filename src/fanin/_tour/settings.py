"""What one tour does: which nets, how long, with which seeds and learning rates."""

from dataclasses import dataclass
from typing import final

from fanin._errors import FaninError
from fanin._tour.data import CLASSES, PIXELS
from fanin._tour.nets import Network, Start, deep_net, simple_net

__all__ = ["LINEAR", "Settings", "fast_settings", "full_settings", "rate"]

LINEAR = Network("linear classifier", (PIXELS, CLASSES))
"""No hidden layer: how far the task goes without depth, for scale."""

DEPTHS = (3, 10, 30)
MOST_SEEDS = 1 << 32


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides a tour's numbers.

    A training is ``steps`` of plain SGD on batches of ``batch``. Its running loss is the mean
    training loss of the last ``window`` steps; it has reached the target when that is at or below
    ``target``. Learning rates are chosen on ``tuning_seeds`` alone, from the half-decades
    ``grid``, widened up to ``widenings`` times by a step at each end where the best rate lies.
    ``scoring_seeds``, which no choice has seen, give what is reported.
    """

    starts: tuple[Start, ...]
    networks: tuple[Network, ...]
    depths: tuple[int, ...]
    seed: int
    tuning_seeds: tuple[int, ...]
    scoring_seeds: tuple[int, ...]
    grid: tuple[int, ...]
    widenings: int
    steps: int = 400
    batch: int = 64
    window: int = 20
    target: float = 0.3
    check_every: int = 20


def rate(half_decade: int) -> float:
    """The learning rate of a half-decade: 0 is 1, -1 is 0.3, -2 is 0.1.

    >>> [rate(half_decade) for half_decade in (-3, -2, -1, 0, 1)]
    [0.03, 0.1, 0.3, 1.0, 3.0]
    """
    decade, odd = divmod(half_decade, 2)
    return float(f"{3 if odd else 1}e{decade}")


def full_settings(starts: tuple[Start, ...], seed: int) -> Settings:
    """Every net with and without batch norm, five scoring seeds."""
    networks = [make(batch_norm=norm) for norm in (False, True) for make in (simple_net, _deep)]
    return Settings(
        starts,
        (LINEAR, *networks),
        DEPTHS,
        seed,
        tuning_seeds=_seeds(seed, 50, 2),
        scoring_seeds=_seeds(seed, 0, 5),
        grid=(-4, -3, -2, -1, 0),
        widenings=2,
    )


def fast_settings(starts: tuple[Start, ...], seed: int) -> Settings:
    """A shorter look: batch norm for the deep net alone, three scoring seeds, a grid of four."""
    return Settings(
        starts,
        (simple_net(), _deep(), _deep(batch_norm=True)),
        DEPTHS,
        seed,
        tuning_seeds=_seeds(seed, 50, 1),
        scoring_seeds=_seeds(seed, 0, 3),
        grid=(-4, -3, -2, -1),
        widenings=0,
    )


def _deep(*, batch_norm: bool = False) -> Network:
    return deep_net(10, batch_norm=batch_norm)


def _seeds(seed: int, first: int, count: int) -> tuple[int, ...]:
    """Seeds that no other tour's seed and no other use share."""
    if not 0 <= seed < MOST_SEEDS:
        raise FaninError(
            "the seed is out of range",
            where="fanin tour --seed",
            found=seed,
            fix=f"give an integer from 0 to {MOST_SEEDS - 1}",
        )
    return tuple(100 * seed + first + index for index in range(count))
