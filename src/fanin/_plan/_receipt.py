"""What was done to a model: the seed, and each tensor's state and the checksum of its bits."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, final

from fanin._errors import FaninError, nearest

__all__ = ["Receipt", "Stamp", "TensorState"]

TensorState = Literal["filled", "kept", "unclaimed", "not drawn"]


@final
@dataclass(frozen=True, slots=True)
class Stamp:
    """One tensor after an apply: ``checksum`` is the CRC-32 of its bytes in row-major order.

    A parametrized weight has the CRC-32 of the tensors kept for it, one after the other.
    None: it has no dense bytes, as on the meta device.
    """

    name: str
    state: TensorState
    checksum: str | None


@final
@dataclass(frozen=True, slots=True)
class Receipt:
    """What `Plan.apply` did: equal receipts mean equal weights.

    ``plan`` is the plan's checksum; ``seed`` None where nothing was drawn, as on the meta device;
    ``fanin`` and ``torch`` are versions.

    >>> stamp = Stamp("fc.weight", "filled", "0f1e2d3c")
    >>> print(Receipt(7, "0.1.0", "2.13.0", "a1b2c3d4e5f60718", (stamp,)))
    seed 7, plan a1b2c3d4e5f60718: 1 filled (fanin 0.1.0, torch 2.13.0)
    """

    seed: int | None
    fanin: str
    torch: str
    plan: str
    tensors: tuple[Stamp, ...]

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

    def to_json(self) -> str:
        """The receipt as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        states = [stamp.state for stamp in self.tensors]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        if "not drawn" in states:
            counts.append("no memory to draw into")
        seed = "no seed" if self.seed is None else f"seed {self.seed}"
        versions = f"(fanin {self.fanin}, torch {self.torch})"
        return f"{seed}, plan {self.plan}: {', '.join(counts)} {versions}"
