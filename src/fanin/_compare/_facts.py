"""What an outcome depends on beside its member: by it a file of outcomes is known again."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fanin._compare._data import Data
from fanin._compare._train import Start
from fanin._errors import FaninError
from fanin._observe import observing, run
from fanin._trace._run import describe

__all__ = ["facts_of", "fingerprint", "first_batch", "made"]


def made(make_model: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The model as it is made under this seed; torch's generators are left as they were.

    Raises:
        FaninError: where what is made is no model, or the same one each time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: object = make_model()
        other: object = make_model()
    if not isinstance(model, nn.Module) or not isinstance(other, nn.Module):
        raise FaninError(
            "make_model makes no model",
            where="make_model",
            found=f"{type(model).__name__}, not a torch.nn.Module",
            fix="give a function without arguments that returns a new model, or its class",
        )
    if {id(one) for one in model.parameters()} & {id(one) for one in other.parameters()}:
        raise FaninError(
            "make_model returns the same model each time",
            where="make_model",
            found=f"one {type(model).__name__}, which every training would go on with",
            fix="give a function that makes the model anew",
        )
    return model


def first_batch(data: Data) -> tuple[Any, Any]:
    """The inputs and targets to trace on.

    Raises:
        FaninError: where they are no pair, or others each time: members of one seed would then not
            see the same data.
    """
    found, again = data.example(), data.example()
    pair: object = found
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise FaninError(
            "a batch is no pair of inputs and targets",
            where="data(0)(1)",
            found=describe(found),
            fix="return (inputs, targets); inputs may be a tuple or a mapping",
        )
    if fingerprint(found) != fingerprint(again):
        raise FaninError(
            "the data are not a function of the seed and the step",
            where="data(0)(1)",
            found="two calls gave two batches",
            fix="draw from a torch.Generator that is seeded with both",
        )
    return found[0], found[1]


def facts_of(
    make_model: Callable[[], nn.Module], starts: Mapping[str, Start], data: Data
) -> dict[str, object]:
    """The model, its starts, the data and the loss, each in a few letters."""
    model, (inputs, targets) = made(make_model), first_batch(data)
    values = fingerprint(dict(model.state_dict()))
    with torch.random.fork_rng(devices=[]), torch.no_grad(), observing(model, training=True):
        torch.manual_seed(0)
        loss = float(data.loss(run(model, inputs), targets))
    return {
        "model": [type(model).__name__, values],
        "starts": {name: None if one is None else one.checksum for name, one in starts.items()},
        "data": fingerprint([(inputs, targets), data.batches(1)(1), data.test]),
        # In few digits: another number of threads may round otherwise.
        "loss": f"{loss:.3g}",
    }


def fingerprint(value: object) -> str:
    """A short name of tensors in tuples, lists and mappings, by every bit of them.

    >>> fingerprint(torch.zeros(2)) == fingerprint(-torch.zeros(2))
    False
    """
    found = hashlib.blake2b(digest_size=8)
    _feed(found.update, value)
    return found.hexdigest()


def _feed(update: Callable[[bytes], None], value: object) -> None:
    if isinstance(value, Tensor):
        update(f"{value.dtype}{tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    elif isinstance(value, Mapping):
        for key in value:
            update(repr(key).encode())
            _feed(update, value[key])
    elif isinstance(value, tuple | list):
        update(f"{len(value)}".encode())
        for one in value:
            _feed(update, one)
    else:
        simple = value is None or isinstance(value, str | int | float | bool)
        update((repr(value) if simple else type(value).__name__).encode())
