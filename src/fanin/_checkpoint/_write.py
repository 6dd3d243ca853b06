"""The public function: a plan, a model, a seed, and a directory that holds the weights after."""

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Final, final, get_args

import torch
from torch import nn

from fanin._checkpoint._directory import opened, require_room
from fanin._checkpoint._format import SINGLE, index_of, named, ordered, parse_size, spread
from fanin._checkpoint._hugging_face import config_text, parameters_of
from fanin._checkpoint._items import Item, items_of
from fanin._checkpoint._journal import Journal, refuse_others, require_small, write_small
from fanin._checkpoint._receipt import CheckpointFile, CheckpointFormat, CheckpointReceipt
from fanin._checkpoint._shard import is_intact, write_shard
from fanin._checkpoint._sources import Drawn, Kept
from fanin._errors import FaninError, nearest
from fanin._plan import Plan, Stamp
from fanin._plan._draw._measure import checksum
from fanin._plan._local._allocate import require_dtype
from fanin._version import __version__
from fanin.initializers._base import take_seed

__all__ = ["write_checkpoint"]

_INDEX: Final = "model.safetensors.index.json"
_CONFIG: Final = "config.json"


def write_checkpoint(
    plan: Plan,
    model: nn.Module,
    directory: str | os.PathLike[str],
    *,
    seed: int,
    dtype: torch.dtype | None = None,
    shard_size: int | str = "4GB",
    format: CheckpointFormat = "safetensors",  # noqa: A002 - torch.save and Hugging Face say so too
    progress: Callable[[int, int], None] | None = None,
) -> CheckpointReceipt:
    """The weights that `Plan.materialize` gives with ``seed``, in files; the model stays as it is.

    ``model`` is on the meta device, or has memory: tensors that the plan keeps are then written as
    they are. Numbers are drawn in parts of 8 MB and never in memory whole, but for orthogonal and
    other whole matrices, one at a time. Files are of ``shard_size`` at most (bytes, or "500MB"),
    with Hugging Face's names, keys and index, and its config.json where the model has one;
    ``format="dcp"`` writes for ``torch.distributed.checkpoint`` instead. ``dtype`` is for
    parameters that are drawn or have no memory; buffers keep theirs.

    ``directory`` is made, with those above it, and removed where the call fails before a file is
    complete. A file gets its name when it is complete. What was interrupted goes on by the same
    call, which reads the complete files once more and keeps them; ``fanin-checkpoint.json`` says
    what they are. ``progress`` is called with the bytes that are done and those of all.

    Raises:
        FaninError: as `Plan.materialize`; for weights in the directory that are not of this very
            checkpoint; where the disk is full. Then no file has its name and is not complete.

    >>> import fanin
    >>> from tempfile import TemporaryDirectory
    >>> with torch.device("meta"):
    ...     net = nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 100))
    >>> plan = fanin.plan(net, torch.ones(8, 30, device="meta"))
    >>> with TemporaryDirectory() as directory:
    ...     receipt = write_checkpoint(plan, net, directory, seed=0, dtype=torch.bfloat16)
    ...     print([path.name for path in sorted(Path(directory).iterdir())])
    ['fanin-checkpoint.json', 'model.safetensors']
    """
    _require_arguments(plan, seed, dtype, format)
    number = take_seed(seed)
    items = items_of(plan, model, seed=number, dtype=dtype)
    most = parse_size(shard_size)
    if format == "dcp":
        most = 0  # torch makes the files, and none of them is of this size
    parts = spread(items, most) if most else [list(items)]
    files = {name: ordered(one) for name, one in named(parts).items()}
    run = _run(plan, items, files, number, format)
    asked = "own" if dtype is None else str(dtype).removeprefix("torch.")
    run = replace(run, dtype=asked, shard_size=most)
    told = _Progress(progress, run.size)
    with opened(Path(directory)):
        if format == "dcp":
            from fanin._checkpoint._dcp import write_dcp

            return write_dcp(Path(directory), items, run, told.add)
        return _write(Path(directory), files, run, _small(model, dtype, files), told)


def _require_arguments(plan: object, seed: object, dtype: object, kind: object) -> None:
    if not isinstance(plan, Plan):
        raise _refusal("this is not a plan", repr(plan)[:80], "fanin.plan(model, batch)")
    if seed is None:
        raise _refusal("a checkpoint needs a seed", "seed=None", "give a number: seed=0")
    if kind not in get_args(CheckpointFormat):
        known = nearest(str(kind), get_args(CheckpointFormat))
        raise _refusal("there is no such format", f"format={kind!r}", f"use one of: {known}")
    require_dtype(dtype, "fanin.write_checkpoint")


def _refusal(what: str, found: str, fix: str) -> FaninError:
    return FaninError(what, where="fanin.write_checkpoint", found=found, fix=fix)


def _run(
    plan: Plan,
    items: Sequence[Item],
    files: Mapping[str, Sequence[Item]],
    seed: int,
    kind: CheckpointFormat,
) -> CheckpointReceipt:
    """What tells this checkpoint from another, with no file complete yet."""
    described = {
        name: [[item.name, str(item.dtype), list(item.shape)] for item in some]
        for name, some in files.items()
    }
    values = tuple(
        Stamp(item.name, "kept", checksum([item.source.tensor]))
        for item in items
        if isinstance(item.source, Kept)
    )
    kept = 0
    for stamp in values:
        kept = zlib.crc32(f"{kept} {stamp.checksum}".encode())
    return CheckpointReceipt(
        plan=plan.checksum,
        seed=seed,
        file_format=kind,
        tensors=len(items),
        size=sum(item.size for item in items),
        contents=blake2b(json.dumps(described).encode(), digest_size=8).hexdigest(),
        kept=f"{kept:08x}",
        versions=f"fanin {__version__}, torch {torch.__version__}",
        values=values,
    )


@final
class _Progress:
    """Adds up the bytes that are done."""

    def __init__(self, told: Callable[[int, int], None] | None, total: int) -> None:
        self._told, self._total, self._done = told, total, 0

    def add(self, size: int) -> None:
        self._done += size
        if self._told is not None:
            self._told(self._done, self._total)


def _small(
    model: nn.Module, dtype: torch.dtype | None, files: Mapping[str, Sequence[Item]]
) -> dict[str, str]:
    """The texts that are beside the weights, by the names of their files."""
    config = config_text(model, dtype)
    small = {} if config is None else {_CONFIG: config}
    if list(files) != [SINGLE]:
        small[_INDEX] = index_of(files, parameters_of(model))
    return small


def _write(
    directory: Path,
    files: Mapping[str, list[Item]],
    run: CheckpointReceipt,
    small: Mapping[str, str],
    told: _Progress,
) -> CheckpointReceipt:
    journal = Journal(directory, run)
    said = journal.before()
    known = [*(name for name in files if name in (said or ())), *([] if said is None else [_INDEX])]
    refuse_others(directory, known)
    for name, text in small.items():
        require_small(directory / name, text)
    complete = {
        name: said[name] for name in files if said and name in said and (directory / name).exists()
    }
    journal.go_on(complete.values())
    missing = [item.size for name, one in files.items() if name not in complete for item in one]
    require_room(directory, sum(missing))
    comparisons = sum(isinstance(item.source, Drawn) for one in files.values() for item in one)
    for name, items in files.items():
        if name in complete:
            _require_intact(directory / name, complete[name], items, told)
            continue
        written = write_shard(directory / name, items, comparisons=comparisons, report=told.add)
        journal.add(written)
    for name, text in small.items():
        write_small(directory / name, text)
    return journal.run


def _require_intact(
    path: Path, said: CheckpointFile, items: Sequence[Item], told: _Progress
) -> None:
    if not is_intact(path, said, items, told.add):
        raise FaninError(
            "a file of the checkpoint was changed after it was written",
            where=str(path),
            found="other bytes than fanin-checkpoint.json says",
            fix="delete the file, and the same call writes it again",
        )
