"""5,000 real handwritten digits, 784 pixels each, that come with the package."""

from dataclasses import dataclass
from importlib.resources import files
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CLASSES", "PIXELS", "Digits", "a_few", "load_digits"]

PIXELS = 784
CLASSES = 10
TRAIN_PER_CLASS = 400


@final
@dataclass(frozen=True, slots=True)
class Digits:
    """Images [n, 784] as float32, standardised, and labels [n] as int64.

    ``pixel_mean`` and ``pixel_std`` are those of the training pixels on the scale 0 to 1; both
    sets of images were shifted and divided by them.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    pixel_mean: float
    pixel_std: float


def load_digits() -> Digits:
    """4,000 training and 1,000 held-out digits: the first 400 of each class, and the last 100.

    Every pixel is ``(byte / 255 - mean) / std`` with one mean and one std over all pixels of the
    training images, so a training pixel has mean 0 and mean square 1. The split and the order
    (by class) never change. The data is MNIST's, see the file NOTICE beside this module.

    >>> digits = load_digits()
    >>> tuple(digits.train_images.shape), tuple(digits.test_images.shape)
    ((4000, 784), (1000, 784))
    >>> digits.test_labels.bincount().tolist()
    [100, 100, 100, 100, 100, 100, 100, 100, 100, 100]
    """
    with (files("fanin._tour") / "digits.npz").open("rb") as file, np.load(file) as stored:
        pixels, labels = stored["images"], stored["labels"]
    train = _first_of_each_class(labels)
    scaled = pixels / 255
    mean, std = float(scaled[train].mean()), float(scaled[train].std())
    images = torch.from_numpy(((scaled - mean) / std).astype(np.float32))
    classes = torch.from_numpy(labels.astype(np.int64))
    chosen = torch.from_numpy(train)
    return Digits(images[chosen], classes[chosen], images[~chosen], classes[~chosen], mean, std)


def a_few(digits: Digits, per_class: int = 20) -> tuple[Tensor, Tensor]:
    """Images and labels of the first training digits of each class.

    >>> a_few(load_digits(), per_class=1)[1].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    classes = [torch.nonzero(digits.train_labels == digit).flatten() for digit in range(CLASSES)]
    rows = torch.cat([places[:per_class] for places in classes])
    return digits.train_images[rows], digits.train_labels[rows]


def _first_of_each_class(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for digit in range(CLASSES):
        chosen[np.flatnonzero(labels == digit)[:TRAIN_PER_CLASS]] = True
    return chosen
