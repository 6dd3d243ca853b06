"""What was done to a model: the seed, and each tensor's state and the checksum of its bits."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, cast, final

from fanin._errors import FaninError, nearest

__all__ = ["Receipt", "Stamp", "TensorState"]

TensorState = Literal["filled", "kept", "unclaimed", "not drawn", "absent", "loaded", "extended"]


@final
@dataclass(frozen=True, slots=True)
class Stamp:
    """One tensor after an apply: ``checksum`` is the CRC-32 of its bytes in row-major order.

    A parametrized weight has the CRC-32 of the tensors kept for it, one after the other.
    None: it has no dense bytes, as on the meta device, or is ``absent``: in another part of the
    model. ``loaded`` ones are a checkpoint's, ``extended`` ones have its rows and new ones after
    them; ``cast_from`` is their dtype there, where it is another.
    """

    name: str
    state: TensorState
    checksum: str | None
    cast_from: str = ""


@final
@dataclass(frozen=True, slots=True)
class Receipt:
    """What `Plan.apply` did: equal receipts mean equal weights.

    ``plan`` is the plan's checksum; ``seed`` None where nothing was drawn, as on the meta device;
    ``fanin`` and ``torch`` are versions. ``unexpected``: names in the checkpoint of
    ``missing_from`` that the model does not have.

    >>> stamp = Stamp("fc.weight", "filled", "0f1e2d3c")
    >>> print(Receipt(7, "0.1.0", "2.13.0", "a1b2c3d4e5f60718", (stamp,)))
    seed 7, plan a1b2c3d4e5f60718: 1 filled (fanin 0.1.0, torch 2.13.0)
    """

    seed: int | None
    fanin: str
    torch: str
    plan: str
    tensors: tuple[Stamp, ...]
    unexpected: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Stamp:
        """The stamp of the tensor of this canonical name."""
        for stamp in self.tensors:
            if stamp.name == name:
                return stamp
        raise FaninError(
            "the receipt has no such tensor",
            where="receipt[...]",
            found=repr(name),
            fix=f"use one of: {nearest(name, [stamp.name for stamp in self.tensors])}",
        )

    @property
    def drawn(self) -> tuple[str, ...]:
        """The names of what was drawn whole."""
        return self._names("filled")

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of what is a checkpoint's."""
        return self._names("loaded")

    @property
    def extended(self) -> tuple[str, ...]:
        """The names of what has a checkpoint's rows, and new ones after them."""
        return self._names("extended")

    def _names(self, state: TensorState) -> tuple[str, ...]:
        return tuple(stamp.name for stamp in self.tensors if stamp.state == state)

    def to_json(self) -> str:
        """The receipt as JSON text; what is empty is left out."""
        return json.dumps(_without_empty(asdict(self)), indent=1)

    def __str__(self) -> str:
        states = [stamp.state for stamp in self.tensors]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        if "not drawn" in states:
            counts.append("no memory to draw into")
        cast = [stamp.cast_from for stamp in self.tensors if stamp.cast_from]
        if cast:
            counts.append(f"{len(cast)} cast from {' and '.join(dict.fromkeys(cast))}")
        if self.unexpected:
            ending = "s" if self.unexpected[1:] else ""
            counts.append(f"{len(self.unexpected)} unexpected name{ending} ignored")
        seed = "no seed" if self.seed is None else f"seed {self.seed}"
        versions = f"(fanin {self.fanin}, torch {self.torch})"
        return f"{seed}, plan {self.plan}: {', '.join(counts)} {versions}"


def _without_empty(data: dict[str, object]) -> dict[str, object]:
    """``data`` without what only a checkpoint gives, where there was none."""
    kept = {name: value for name, value in data.items() if name != "unexpected" or value}
    stamps = cast("tuple[dict[str, object], ...]", kept["tensors"])
    kept["tensors"] = [
        {name: value for name, value in stamp.items() if name != "cast_from" or value}
        for stamp in stamps
    ]
    return kept
