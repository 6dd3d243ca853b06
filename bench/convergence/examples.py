"""What the tasks learn: digits, text that ships with Python, a signal, a wave.

Batches are drawn anew at every step: with whole epochs, steps to a target come in whole epochs.
"""

import functools
import math
from collections.abc import Callable
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor

from fanin._tour.data import load_digits

__all__ = [
    "CONTEXT",
    "Batch",
    "digits",
    "large_digits",
    "letters",
    "places",
    "signal",
    "text",
    "values",
    "wave",
]

CONTEXT = 32
"""Characters that a language model sees."""

Batch = Callable[[int], tuple[Tensor, Tensor]]
"""Of a step, from 1: its inputs and targets."""
_MOST_STEPS = 5000


@functools.cache
def _examples(side: int) -> tuple[Tensor, Tensor]:
    found = load_digits()
    images = found.train_images
    if side == 14:
        images = F.avg_pool2d(images.view(-1, 1, 28, 28), 2).flatten(1)
        images = (images - images.mean()) / images.std()
    return images, found.train_labels


def digits(seed: int, side: int = 14) -> Batch:
    """64 of the packaged handwritten digits, [64, side²] and [64]."""
    images, labels = _examples(side)
    generator = torch.Generator().manual_seed(10_000 + seed)
    order = torch.randint(len(images), (_MOST_STEPS, 64), generator=generator)
    return lambda step: (images[order[step]], labels[order[step]])


def large_digits(seed: int) -> Batch:
    """The same at 28 x 28."""
    return digits(seed, 28)


@functools.cache
def _characters() -> tuple[Tensor, int]:
    raw = "".join(topics.values())
    known = sorted(set(raw))
    index = {letter: place for place, letter in enumerate(known)}
    return torch.tensor([index[letter] for letter in raw]), len(known)


def letters() -> int:
    """How many different characters the text has."""
    return _characters()[1]


def text(seed: int) -> Batch:
    """16 pieces of Python's help texts [16, CONTEXT], and the character after each of theirs."""
    ids, _ = _characters()

    def batch(step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed((10_000 + seed) * 100_000 + step)
        places = torch.randint(len(ids) - CONTEXT - 1, (16,), generator=generator)
        windows = torch.stack([ids[one : one + CONTEXT + 1] for one in places.tolist()])
        return windows[:, :-1], windows[:, 1:]

    return batch


def places() -> Tensor:
    """256 points from -1 to 1 [256, 1]."""
    return torch.linspace(-1, 1, 256).unsqueeze(1)


def values(t: Tensor) -> Tensor:
    """The signal at these places: a chirp, and jumps."""
    return torch.sin(20 * t + 30 * t**2) * torch.exp(-(t**2)) + 0.5 * torch.sign(torch.sin(9 * t))


def signal(_seed: int) -> Batch:
    """256 points of the signal, all of them at every step."""
    t = places()
    y = values(t)
    return lambda _step: (t, y)


def wave(_seed: int) -> Batch:
    """256 points of two waves, all of them at every step."""
    t = places()
    y = torch.sin(3 * math.pi * t) + 0.5 * torch.cos(7 * t)
    return lambda _step: (t, y)
