"""The format of ``torch.distributed.checkpoint``, with tensors that are drawn when asked for."""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import (
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.state_dict_saver import save

from fanin._checkpoint._check import Check
from fanin._checkpoint._directory import begun, require_room, room_in, unwritten
from fanin._checkpoint._items import Item
from fanin._checkpoint._journal import Journal, refuse_others
from fanin._checkpoint._receipt import CheckpointFile, CheckpointReceipt, said_bytes
from fanin._checkpoint._shard import Report
from fanin._checkpoint._sources import Drawn
from fanin._engine import Region
from fanin._errors import FaninError

__all__ = ["write_dcp"]

_MOST: Final = 1 << 27
"""Bytes of a part, each of which is a file: torch keeps what it writes until the file is full."""
_FRAME: Final = 1 << 11
"""Bytes of a file, about, beside its numbers."""
_METADATA: Final = ".metadata"
"""The file without which torch sees no checkpoint; it gets its name last."""


def write_dcp(
    directory: Path, items: Sequence[Item], run: CheckpointReceipt, report: Report
) -> CheckpointReceipt:
    """All files, beside their places first; what was interrupted begins anew."""
    planner = _Planner(items, report)
    names = [f"__0_{number}.distcp" for number in range(len(planner.parts))]
    journal = Journal(directory, run)
    said = journal.before()
    refuse_others(directory, () if said is None else (*names, _METADATA))
    if (directory / _METADATA).exists():
        _require_whole(directory, names, said or {})
    else:
        with room_in(directory):
            for name in names:
                (directory / name).unlink(missing_ok=True)
        require_room(directory, planner.size)
        _write_beside(directory, planner, names, journal)
    report(run.size - planner.done)
    journal.keep(*(CheckpointFile(one, (directory / one).stat().st_size) for one in names))
    return journal.run


def _require_whole(
    directory: Path, names: Sequence[str], said: Mapping[str, CheckpointFile]
) -> None:
    """Raise FaninError where a file is gone, or of another size than the journal says."""
    for name in names:
        path = directory / name
        size = path.stat().st_size if path.exists() else None
        if size is None or (name in said and size != said[name].size):
            raise FaninError(
                "a file of the checkpoint was changed after it was written",
                where=str(path),
                found="nothing" if size is None else f"{size} bytes, {said[name].size} written",
                fix=f"delete {_METADATA}, and the same call writes all of it again",
            )


def _write_beside(
    directory: Path, planner: "_Planner", names: Sequence[str], journal: Journal
) -> None:
    beside = begun(directory / "dcp")
    with room_in(directory):
        beside.parent.mkdir(exist_ok=True)
        _save(beside, planner)
        # Files without their metadata are then known as those of a run that was killed.
        journal.keep()
        for name in (*names, _METADATA):
            (beside / name).rename(directory / name)


def _save(directory: Path, planner: "_Planner") -> None:
    # Asked for ahead, parts would pile up where there is an accelerator.
    writer = FileSystemWriter(
        directory, single_file_per_rank=False, thread_count=1, per_thread_copy_ahead=0
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        try:
            save({}, storage_writer=writer, planner=planner, no_dist=True)
        except CheckpointException as error:
            # torch wraps also what is not an Exception, such as Ctrl-C.
            failure, _ = next(iter(error.failures.values()))
            if failure is planner.failure or not isinstance(failure, RuntimeError):
                raise failure from None
            raise _unwritten(failure, directory.parent.parent) from failure


def _unwritten(failure: BaseException, directory: Path) -> FaninError:
    """torch's writer says nothing of the disk when that is full, but for what it was caused by."""
    cause = failure.__cause__ or failure.__context__
    while cause is not None:
        if isinstance(cause, OSError):
            return unwritten(directory, cause)
        cause = cause.__cause__ or cause.__context__
    free = said_bytes(shutil.disk_usage(directory).free)
    return FaninError(
        "the checkpoint could not be written",
        where=str(directory),
        found=f"{type(failure).__name__}: {failure}; {free} free",
        fix="make room, or give a directory on another disk; the same call begins anew",
    )


@final
class _Planner(DefaultSavePlanner):
    """Names the parts of all tensors, and draws each when torch writes it."""

    def __init__(self, items: Sequence[Item], report: Report) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._report, self.done = report, 0
        self.failure: BaseException | None = None
        self.parts = {
            (name, region.start): (item, region)
            for item in items
            for name in (item.name, *item.others)
            for region in _regions(item)
        }
        comparisons = sum(isinstance(item.source, Drawn) for item in items)
        self._checks = {item.name: Check(item, comparisons) for item in items}

    def create_local_plan(self) -> SavePlan:
        """One part after the other."""
        self.plan = SavePlan(
            [
                WriteItem(
                    MetadataIndex(name, torch.Size(start)),
                    WriteItemType.SHARD,
                    tensor_data=_described(item, region),
                )
                for (name, start), (item, region) in self.parts.items()
            ]
        )
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """The part, in memory of its own."""
        name, start = write_item.index.fqn, tuple(write_item.index.offset or ())
        item, region = self.parts[name, start]
        try:
            part = torch.empty(region.count, dtype=item.dtype)
            if part.numel():
                item.source.take(region, part)
                self._look_at(name, item, part, region)
        except BaseException as error:
            self.failure = error
            raise
        return part

    @property
    def size(self) -> int:
        """About the bytes of all files, in which a tensor is once for each of its names."""
        return sum(
            prod(region.count) * item.dtype.itemsize + _FRAME
            for item, region in self.parts.values()
        )

    def _look_at(self, name: str, item: Item, part: Tensor, region: Region) -> None:
        """Check a tensor under its first name, where it is counted too."""
        if name != item.name:
            return
        self._checks[name].add(part, region)
        size = part.numel() * part.element_size()
        self.done += size
        self._report(size)
        ends = zip(region.start, region.count, region.full, strict=True)
        if all(start + count == full for start, count, full in ends):
            self._checks[name].finish()


def _regions(item: Item) -> Iterator[Region]:
    """The parts; an empty tensor has one too, which says its shape."""
    if 0 in item.shape:
        yield Region.whole(item.shape)
    yield from item.source.regions(item.shape, _MOST // item.dtype.itemsize)


def _described(item: Item, region: Region) -> TensorWriteData:
    return TensorWriteData(
        ChunkStorageMetadata(torch.Size(region.start), torch.Size(region.count)),
        TensorProperties(dtype=item.dtype),
        torch.Size(item.shape),
    )
