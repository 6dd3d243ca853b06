"""Checkpoints of torch.distributed.checkpoint: one tensor is read when it is looked at."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from fanin._errors import FaninError

__all__ = ["INNER", "Distributed", "is_distributed"]

_METADATA: Final = ".metadata"
INNER: Final = ("state_dict", "model_state_dict", "model")
"""Where training loops keep the model's tensors, beside the optimizer's."""


def is_distributed(path: Path) -> bool:
    """Whether a directory is one.

    >>> is_distributed(Path("."))
    False
    """
    return (path / _METADATA).is_file()


def _inner(paths: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """The key in the checkpoint by each tensor's name: of a training, those of its model alone.

    >>> _inner({"model.a.w": ("model", "a.w"), "step.b": ("step", "b")})
    {'a.w': 'model.a.w'}
    >>> _inner({"model.a.w": ("model.a.w",)})
    {'model.a.w': 'model.a.w'}
    """
    outer = {tuple(path[:-1]) for path in paths.values() if path[:-1]}
    models = [one for one in outer if one[-1] in INNER]
    if len(models) != 1:
        return {key: key for key in paths}
    return {str(path[-1]): key for key, path in paths.items() if tuple(path[:-1]) == models[0]}


@final
class Distributed(Mapping[str, Tensor]):
    """Its tensors by name, whole, each made anew whenever it is asked for.

    torch's own reader unpickles the list of what is there, so it can run what a file tells it to.
    """

    def __init__(self, path: Path) -> None:
        # Importing it takes longer than importing fanin.
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.metadata import TensorStorageMetadata

        self._path = path
        try:
            metadata = FileSystemReader(path).read_metadata()
            listed, paths = metadata.state_dict_metadata, metadata.planner_data or {}
        except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything
            raise self._damaged(_METADATA, error) from None
        tensors = {
            name: one for name, one in listed.items() if isinstance(one, TensorStorageMetadata)
        }
        self._keys = _inner({name: paths.get(name, (name,)) for name in tensors})
        self._listed: dict[str, Any] = {name: tensors[key] for name, key in self._keys.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)

    def __contains__(self, name: object) -> bool:
        return name in self._listed

    def __getitem__(self, name: str) -> Tensor:
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.state_dict_loader import load

        said = self._listed[name]
        tensor = torch.empty(said.size, dtype=said.properties.dtype, device="cpu")
        try:
            with warnings.catch_warnings():
                # Without the other processes, who need not look at the same tensors: torch warns.
                warnings.simplefilter("ignore")
                load(
                    {self._keys[name]: tensor},
                    storage_reader=FileSystemReader(self._path),
                    no_dist=True,
                )
        except CheckpointException as error:
            first = next((failure[0] for failure in error.failures.values()), error)
            raise self._damaged(name, first) from None
        return tensor

    def _damaged(self, name: str, error: BaseException) -> FaninError:
        said = (str(error).splitlines() or [""])[0][:120]
        return FaninError(
            "the checkpoint cannot be read",
            where=f"{self._path}, {name}",
            found=f"{type(error).__name__}: {said}",
            fix="copy it again, whole: .metadata and all .distcp files",
        )
