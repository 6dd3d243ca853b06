"""The tensors of a checkpoint by their names, read from disk only where they are looked at."""

import json
import os
import pickle
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Final, TypeAlias

import torch
from torch import Tensor

from fanin._errors import FaninError
from fanin._plan._stored._distributed import INNER, Distributed, is_distributed

__all__ = ["DTYPE_WORDS", "Checkpoint", "name_of", "stored_tensors"]

Checkpoint: TypeAlias = Mapping[str, Tensor] | str | os.PathLike[str]
"""Tensors by name, or where they are stored: a file, or a directory."""

DTYPE_WORDS: Final = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""torch's names and those of the format safetensors, in the order of its package's files."""
_DTYPES: Final = {
    word: getattr(torch, name) for name, word in DTYPE_WORDS.items() if hasattr(torch, name)
}
_LONGEST: Final = 100_000_000
"""Bytes of a header, as the format limits it."""
_IN_DIRECTORY: Final = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
_TORCH: Final = (".pt", ".pth", ".bin", ".ckpt")


def name_of(given: Checkpoint) -> str:
    """What messages call it.

    >>> name_of({}), name_of("net.pt")
    ('the state dict', 'net.pt')
    """
    return "the state dict" if isinstance(given, Mapping) else str(os.fspath(given))


def stored_tensors(given: Checkpoint) -> Mapping[str, Tensor]:
    """Name to tensor. Files are mapped into memory, so that a part that is not read costs none.

    Those of torch.distributed.checkpoint are read when they are asked for, each as a whole.

    Raises:
        FaninError: for what is no checkpoint, or one that is damaged.
    """
    if isinstance(given, Mapping):
        return _checked(given, "the state dict")
    if not isinstance(given, (str, os.PathLike)):
        raise _refusal("this is no checkpoint", "the checkpoint", f"type {type(given).__name__}")
    path = Path(given)
    if path.is_dir() and not _has_model(path) and is_distributed(path):
        return Distributed(path)
    if path.is_dir():
        path = _in_directory(path)
    if not path.is_file():
        raise _refusal("there is no such checkpoint", str(path), f"nothing, seen from {Path.cwd()}")
    if path.name.endswith(".index.json"):
        return _by_index(path)
    return _of_file(path)


def _checked(given: Mapping[str, object], where: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in given.items():
        if not (isinstance(name, str) and isinstance(tensor, Tensor)):
            raise FaninError(
                "a checkpoint is tensors by their names",
                where=where,
                found=f"{name!r}: type {type(tensor).__name__}",
                fix="give the part of it that is a state_dict, as model.state_dict() returns it",
            )
        found[name] = tensor.detach()
    return found


def _has_model(path: Path) -> bool:
    return any((path / name).is_file() for name in _IN_DIRECTORY)


def _in_directory(path: Path) -> Path:
    for name in _IN_DIRECTORY:
        if (path / name).is_file():
            return path / name
    names = ", ".join(sorted(one.name for one in path.iterdir())[:5]) or "nothing"
    raise _refusal("there is no checkpoint in this directory", str(path), names)


def _by_index(path: Path) -> dict[str, Tensor]:
    """The tensors of all the files that an index names."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"no weight_map that can be read: {error!r:.60}") from None
    opened: dict[str, dict[str, Tensor]] = {}
    found: dict[str, Tensor] = {}
    for name, file in files.items():
        if Path(file).name != file or not (path.parent / file).is_file():
            raise _damaged(path, f"{name} is in {file}, which is not beside it")
        if file not in opened:
            opened[file] = _of_file(path.parent / file)
        if name not in opened[file]:
            raise _damaged(path, f"{name} is in {file}, which does not have it")
        found[name] = opened[file][name]
    return found


def _of_file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _of_safetensors(path)
    if path.suffix in _TORCH:
        return _of_torch(path)
    raise _refusal("this is no checkpoint", str(path), f"a file that ends in {path.suffix!r}")


def _of_torch(path: Path) -> dict[str, Tensor]:
    """What ``torch.save`` wrote, without running what else may be in it."""
    try:
        data = _loaded(path)
    except pickle.UnpicklingError as error:
        raise FaninError(
            "the file holds more than tensors, and is not run to find them",
            where=str(path),
            found=str(error).splitlines()[0][:120],
            fix="load it by yourself, and give its state dict",
        ) from None
    except Exception as error:  # noqa: BLE001 - a damaged file makes torch raise anything
        said = (str(error).splitlines() or [""])[0][:120]
        size = path.stat().st_size
        raise _damaged(path, f"{size:,} bytes; torch: {type(error).__name__}: {said}") from None
    inner = [data[key] for key in INNER if isinstance(data, Mapping) and key in data]
    nested = [one for one in inner if isinstance(one, Mapping)]
    if len(nested) == 1:
        return _checked(nested[0], f"{path}, the state dict in it")
    if not isinstance(data, Mapping):
        raise _refusal("this is no checkpoint", str(path), f"type {type(data).__name__} in it")
    return _checked(data, str(path))


def _loaded(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        # Files of before torch 1.6 cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True)


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    """The format: eight bytes that count the header's, the header as JSON, the entries."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST):
            raise _damaged(path, f"{size} bytes, a header of {length}")
        try:
            header = json.loads(file.read(length))
            listed = {str(key): value for key, value in header.items() if key != "__metadata__"}
        except (ValueError, AttributeError) as error:
            raise _damaged(path, f"a header that is no JSON object: {error!r:.60}") from None
    entries = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)[8 + length :]
    return {name: _entry(entries, name, said, path) for name, said in listed.items()}


def _entry(entries: Tensor, name: str, said: object, path: Path) -> Tensor:
    """One tensor: a view of the mapped file."""
    try:
        known = dict(said)  # type: ignore[call-overload]
        shape = tuple(int(length) for length in known["shape"])
        begin, end = (int(place) for place in known["data_offsets"])
        word = str(known["dtype"])
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, f"{name}: {said!r:.80}") from None
    if word not in _DTYPES:
        raise _damaged(path, f"{name} of dtype {word!r:.20}, which is not read here")
    dtype = _DTYPES[word]
    if not (0 <= begin <= end <= len(entries) and end - begin == prod(shape) * dtype.itemsize):
        raise _damaged(path, f"{name}: bytes {begin} to {end} of {len(entries)} for {shape}")
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    piece = entries[begin:end]
    aligned = piece.storage_offset() % dtype.itemsize == 0
    return (piece if aligned else piece.clone()).view(dtype).view(shape)


def _damaged(path: Path, found: str) -> FaninError:
    return FaninError(
        "the checkpoint cannot be read",
        where=str(path),
        found=found,
        fix="copy or download it again",
    )


def _refusal(what: str, where: str, found: str) -> FaninError:
    return FaninError(
        what,
        where=where,
        found=found,
        fix="give a state dict, a file (.safetensors, .pt, .bin), or a directory with "
        "model.safetensors, model.safetensors.index.json or .metadata",
    )
