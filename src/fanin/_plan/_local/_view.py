"""A model as a plan sees it: its tensors under the plan's names."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

from torch import nn
from torch.nn.parameter import is_lazy

from fanin._errors import FaninError, nearest
from fanin._plan._local._flat import Flats, Piece, flats_of, with_flats
from fanin._plan._local._shards import owners
from fanin._trace._names import Tensors, tensors_of

__all__ = ["View", "prefixes_of", "renamed", "require_model"]


@final
@dataclass(frozen=True, slots=True)
class View:
    """Which tensors a model has, by the names that a plan gives them.

    ``part``: the model may lack names of the plan. ``prefixes`` says which names of the model stand
    for which of the plan. ``flats`` is what FSDP1 holds of it.
    """

    model: nn.Module
    part: bool = False
    prefixes: Mapping[str, str] = field(default_factory=dict)
    flats: Flats = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: nn.Module, *, part: bool = False, names: Mapping[str, str] | None = None
    ) -> "View":
        """With what FSDP1 holds; raises for prefixes that nothing has, and names that meet."""
        require_model(model)
        flats = flats_of(model)
        seen = with_flats(tensors_of(model), flats)
        prefixes = prefixes_of(names, [name for one in seen for name in (one.name, *one.tied)])
        view = cls(model, part, prefixes, flats)
        if prefixes:
            _require_apart(view.tensors())
        return view

    def tensors(self) -> list[Tensors]:
        """Every parameter, then every buffer, as `tensors_of`, under the names of the plan."""
        found = with_flats(tensors_of(self.model), self.flats)
        for one in found:
            one.name = renamed(one.name, self.prefixes)
            one.tied = [renamed(name, self.prefixes) for name in one.tied]
        return found

    def piece(self, target: Tensors) -> Piece | None:
        """What FSDP1 holds of it; None where it does not."""
        return self.flats.get((id(target.owner), target.local))

    def shape(self, target: Tensors) -> tuple[int, ...]:
        """The shape of the whole."""
        piece = self.piece(target)
        return tuple(target.tensors[0].shape) if piece is None else piece.shape

    def processes(self, targets: Iterable[Tensors]) -> int:
        """How many processes hold parts of these together."""
        alone = owners(tensor for target in targets for tensor in target.tensors)
        return max([alone, *(piece.processes for piece in self.flats.values())])


def require_model(model: object) -> None:
    """Raise FaninError for what is no module, or one whose shapes are not known yet."""
    if not isinstance(model, nn.Module):
        raise FaninError(
            "this is not a model",
            where="the plan's model",
            found=f"a {type(model).__name__}",
            fix="give a torch.nn.Module",
        )
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise FaninError(
                "a lazy parameter has no shape yet",
                where=name,
                found=type(parameter).__name__,
                fix="run the model once on a batch, then plan it",
            )


def prefixes_of(names: object, known: Collection[str]) -> Mapping[str, str]:
    """``names=`` as it was given, looked at; each prefix is to be of a name in ``known``."""
    names = {} if names is None else names
    is_names = isinstance(names, Mapping) and all(
        isinstance(one, str) for pair in names.items() for one in pair
    )
    if not is_names:
        raise FaninError(
            "names is a mapping from a name in the model to one in the plan",
            where="names=",
            found=repr(names)[:80],
            fix='names={"0": "layers.7"}: what is under 0 in the model is layers.7 in the plan',
        )
    assert isinstance(names, Mapping)  # noqa: S101 - just looked at
    prefixes = {key.strip("."): value.strip(".") for key, value in names.items()}
    _require_used(prefixes, known)
    return prefixes


def renamed(name: str, prefixes: Mapping[str, str]) -> str:
    """``name`` with its longest prefix exchanged.

    >>> [renamed(name, {"0": "layers.7", "": "net"}) for name in ("0.weight", "00.weight")]
    ['layers.7.weight', 'net.00.weight']
    """
    for prefix in sorted(prefixes, key=len, reverse=True):
        if _is_under(name, prefix):
            rest = name[len(prefix) :].strip(".")
            return ".".join(part for part in (prefixes[prefix], rest) if part)
    return name


def _is_under(name: str, prefix: str) -> bool:
    return prefix in ("", name) or name.startswith(f"{prefix}.")


def _require_used(prefixes: Mapping[str, str], names: Collection[str]) -> None:
    for prefix in prefixes:
        # A module without tensors, as an activation is, has nothing to be named.
        if prefix and not any(_is_under(name, prefix) for name in names):
            raise FaninError(
                "there is nothing of this name in the model",
                where="names=",
                found=repr(prefix),
                fix=f"use a name of the model, or the beginning of one: {nearest(prefix, names)}"
                if names
                else "leave names out: the model has no tensors",
            )


def _require_apart(targets: Iterable[Tensors]) -> None:
    seen: dict[str, Tensors] = {}
    for one in targets:
        for name in (one.name, *one.tied):
            if seen.setdefault(name, one) is not one:
                raise FaninError(
                    "two tensors of the model have one name in the plan",
                    where="names=",
                    found=name,
                    fix="give each its own name",
                )
