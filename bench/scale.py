"""Sweeps of initial scales: which of them train, without norm layers and with them."""

from itertools import pairwise
from math import inf

import torch
from torch import Tensor, nn
from torch.nn import functional

import fanin
from fanin._compare._scale import FACTORS
from fanin._compare._scale_result import Band
from fanin._compare._scale_text import cell_text
from fanin._tour.data import load_digits
from timing import Row

__all__ = ["bands"]


def perceptron() -> nn.Module:
    """8 weights, ReLU between them, 64 wide."""
    sizes = (196, *[64] * 7, 10)
    layers = [
        layer
        for inputs, outputs in pairwise(sizes)
        for layer in (nn.Linear(inputs, outputs), nn.ReLU())
    ]
    return nn.Sequential(*layers[:-1])


def digits() -> tuple[Tensor, Tensor]:
    """The packaged digits at 14 x 14, standardized."""
    found = load_digits()
    images = functional.avg_pool2d(found.train_images.view(-1, 1, 28, 28), 2).flatten(1)
    return (images - images.mean()) / images.std(), found.train_labels


def bands(*, quick: bool) -> list[Row]:
    """Steps to a loss of 0.5 with SGD at each scale's best rate, or how many of 3 seeds arrive."""
    rows: list[Row] = []
    for hidden_only in (False,) if quick else (False, True):
        sweep = fanin.sweep_scale(
            perceptron,
            digits(),
            norms=(None, "batch") if quick else (None, "batch", "layer"),
            factors=(0.1, 1.0, 10.0) if quick else FACTORS,
            hidden_only=hidden_only,
            optimizer="sgd",
            target=0.5,
            tuning_seeds=1,
            scoring_seeds=3,
            workers=max(1, torch.get_num_threads()),
        )
        for norm in sweep.norms:
            found = {f"×{cell.factor:.3g}": cell_text(cell) for cell in sweep.cells(norm)}
            band = sweep.band(norm)
            rows.append(
                {"scaled": sweep.scaled, "norm": norm or "none", **found, "decades": width(band)}
            )
    return rows


def width(band: Band | None) -> str:
    """From the decades that were seen to train to the most that the grid leaves open."""
    if band is None:
        return "none"
    most = "more" if band.at_most == inf else f"{band.at_most:.3g}"
    return f"{band.decades:.3g} to {most}"
