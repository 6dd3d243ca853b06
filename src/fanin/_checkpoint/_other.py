"""Whether a directory holds another checkpoint than this call writes, and what differs."""

from pathlib import Path
from typing import Final

from fanin._checkpoint._receipt import CheckpointReceipt, said_bytes
from fanin._errors import FaninError

__all__ = ["require_same"]

_SAID: Final = {
    "plan": "the plan",
    "seed": "the seed",
    "file_format": "the format",
    "contents": "the names, shapes, dtypes or sizes of files",
    "kept": "what is kept",
    "versions": "the versions",
}
_GOES_ON: Final = "; to go on with what is there, "
_SHOWN: Final = 5


def require_same(before: CheckpointReceipt, run: CheckpointReceipt, directory: Path) -> None:
    """Raise FaninError where ``run`` would not go on with what was written ``before``."""
    for name in _SAID:
        if getattr(before, name) != getattr(run, name):
            found, fix = _difference(name, before, run)
            raise FaninError(
                "another checkpoint was begun in this directory",
                where=str(directory),
                found=found,
                fix=f"give another directory, or delete this one{_GOES_ON}{fix}",
            )


def _difference(name: str, before: CheckpointReceipt, run: CheckpointReceipt) -> tuple[str, str]:
    """What differs, from what to what, and how to go on."""
    if name == "kept":
        return (
            f"what is kept has other values there: {_kept(before, run)}",
            "seed torch before the model is made (torch.manual_seed), or load these values",
        )
    if name == "versions":
        return f"the versions: {before.versions} there, {run.versions} here", "use those"
    same = "give the same plan, seed, dtype and size of files"
    if name == "contents" and _options(before, run):
        return _options(before, run), same
    return f"{_SAID[name]}: {getattr(before, name)!r} there, {getattr(run, name)!r} here", same


def _options(before: CheckpointReceipt, run: CheckpointReceipt) -> str:
    """The dtype and the size of files, where they differ; older journals have neither."""
    found = []
    if before.dtype and before.dtype != run.dtype:
        found.append(f"the dtype: {before.dtype} there, {run.dtype} here")
    if before.shard_size and before.shard_size != run.shard_size:
        was, now = said_bytes(before.shard_size), said_bytes(run.shard_size)
        if was == now:
            was, now = f"{before.shard_size} bytes", f"{run.shard_size} bytes"
        found.append(f"the size of files: {was} there, {now} here")
    return "; ".join(found)


def _kept(before: CheckpointReceipt, run: CheckpointReceipt) -> str:
    """The names of tensors whose values differ; where that is not known, of all that are kept."""
    stamps = before.values or tuple(
        stamp for file in before.files for stamp in file.tensors if stamp.state == "kept"
    )
    was = {stamp.name: stamp.checksum for stamp in stamps}
    now = {stamp.name: stamp.checksum for stamp in run.values}
    if not before.values:
        was = {name: was[name] for name in was if name in now}
        now = {name: now[name] for name in was} or now
    names = [name for name in {**now, **was} if was.get(name) != now.get(name)]
    more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    return ", ".join(names[:_SHOWN]) + more
