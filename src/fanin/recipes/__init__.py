"""Recipes: for every parameter of a model how it starts, why, and whose idea that is.

A recipe is a function from a `fanin.Site`, what is known of one parameter, to a `Choice`, a
`Keep` or None. `named` looks one up, also those of installed packages; `variance_scaling` and
`orthogonal_matrices` make more; a function of your own is one too.
"""

from fanin.recipes._deepnorm import deepnorm
from fanin.recipes._fixup import fixup
from fanin.recipes._gpt2 import depth_scaled, gpt2
from fanin.recipes._keras_default import keras_default
from fanin.recipes._lookup import named, names
from fanin.recipes._orthogonal import lsuv, orthogonal, orthogonal_matrices
from fanin.recipes._recipe import Choice, Decision, Keep, Recipe, RecipeLike, as_recipe
from fanin.recipes._siren import siren
from fanin.recipes._small_init import gpt_neox, small_init
from fanin.recipes._steady import steady
from fanin.recipes._torch_default import torch_default
from fanin.recipes._variance import kaiming, lecun, variance_scaling, xavier
from fanin.recipes._zero_branches import skip_init, zero_residual

__all__ = [
    "Choice",
    "Decision",
    "Keep",
    "Recipe",
    "RecipeLike",
    "as_recipe",
    "deepnorm",
    "depth_scaled",
    "fixup",
    "gpt2",
    "gpt_neox",
    "kaiming",
    "keras_default",
    "lecun",
    "lsuv",
    "named",
    "names",
    "orthogonal",
    "orthogonal_matrices",
    "siren",
    "skip_init",
    "small_init",
    "steady",
    "torch_default",
    "variance_scaling",
    "xavier",
    "zero_residual",
]
