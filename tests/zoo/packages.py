"""Third-party packages: imported when a model is built, with their own warnings silenced."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from types import ModuleType

import torch
from torch import nn

__all__ = ["from_timm", "from_transformers", "load"]

# torchvision's wheel from PyPI is built for CUDA; beside a CPU build of torch its operators do not
# load, and its import fails on the two that it describes. timm, transformers and lightning import
# it. Their names are enough: nothing here calls them.
_OPERATORS: list[torch.library.Library] = []


def load(name: str) -> ModuleType:
    """The module of this name; ImportError where its package is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _make_torchvision_importable()
        return importlib.import_module(name)


def _make_torchvision_importable() -> None:
    if _OPERATORS or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _OPERATORS.append(operators)


def from_transformers(
    model: str,
    config: str,
    **settings: object,
) -> Callable[[], nn.Module]:
    """A factory of ``transformers.model(transformers.config(**settings))``."""

    def factory() -> nn.Module:
        transformers = load("transformers")
        return getattr(transformers, model)(getattr(transformers, config)(**settings))

    return factory


def from_timm(model: str, **settings: object) -> Callable[[], nn.Module]:
    """A factory of ``timm.create_model(model, **settings)`` with three classes."""

    def factory() -> nn.Module:
        return load("timm").create_model(model, num_classes=3, **settings)

    return factory
