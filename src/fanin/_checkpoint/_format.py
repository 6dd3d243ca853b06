"""The format safetensors: a JSON header, then the bytes; and how Hugging Face splits it in files.

Eight bytes with the length of the header, the header, spaces up to a multiple of eight, the
tensors without gaps. https://huggingface.co/docs/safetensors describes it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fanin._checkpoint._items import Item
from fanin._errors import FaninError
from fanin._plan._stored._read import DTYPE_WORDS

__all__ = ["SINGLE", "header_of", "index_of", "named", "ordered", "parse_size", "spread"]

SINGLE: Final = "model.safetensors"
_UNITS: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_ORDER: Final = {name: place for place, name in enumerate(DTYPE_WORDS)}
"""The package safetensors lays tensors in this order."""


def parse_size(size: object) -> int:
    """Bytes; a text has a unit, as Hugging Face writes it.

    >>> parse_size("4GB"), parse_size(1000)
    (4000000000, 1000)
    """
    text = str(size).strip().upper()
    number, unit = (text[:-2], _UNITS[text[-2:]]) if text[-2:] in _UNITS else (text, 1)
    try:
        found = int(float(number) * unit)
    except (ValueError, OverflowError):
        found = 0
    if found < 1 or isinstance(size, bool) or not isinstance(size, (int, str)):
        raise FaninError(
            "this is no size of a file",
            where="shard_size",
            found=repr(size),
            fix='give bytes, or a text such as "4GB" or "500MB"',
        )
    return found


def spread(items: Iterable[Item], most: int) -> list[list[Item]]:
    """The items of each file, as Hugging Face spreads them.

    A file holds at most ``most`` bytes, or one tensor that is larger.
    """
    files: list[list[Item]] = []
    current: list[Item] = []
    size = 0
    for item in items:
        if item.size > most:
            files.append([item])
            continue
        if size + item.size > most:
            files.append(current)
            current, size = [], 0
        current.append(item)
        size += item.size
    return [*files, current] if current or not files else files


def named(files: Sequence[list[Item]]) -> dict[str, list[Item]]:
    """The files by their names."""
    count = len(files)
    if count == 1:
        return {SINGLE: files[0]}
    return {f"model-{n:05d}-of-{count:05d}.safetensors": one for n, one in enumerate(files, 1)}


def ordered(items: Iterable[Item]) -> list[Item]:
    """As they lie in a file: larger dtypes first, then by name."""
    return sorted(items, key=lambda item: (_ORDER[_dtype_name(item)], item.name.encode()))


def _dtype_name(item: Item) -> str:
    name = str(item.dtype).removeprefix("torch.")
    if name not in DTYPE_WORDS:
        raise FaninError(
            "the format safetensors has no such dtype",
            where=item.name,
            found=name,
            fix='use another dtype, or format="dcp"',
        )
    return name


def header_of(items: Sequence[Item]) -> bytes:
    """What stands before the tensors, which are in the order of the file.

    >>> import torch
    >>> from fanin._checkpoint._sources import Kept
    >>> item = Item("bias", (), (2,), torch.float32, Kept(torch.zeros(2)))
    >>> print(header_of([item])[8:].decode())
    {"__metadata__":{"format":"pt"},"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}
    """
    records: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for item in items:
        records[item.name] = {
            "dtype": DTYPE_WORDS[_dtype_name(item)],
            "shape": list(item.shape),
            "data_offsets": [start, start + item.size],
        }
        start += item.size
    text = json.dumps(records, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def index_of(files: Mapping[str, Sequence[Item]], parameters: int | None = None) -> str:
    """The text of model.safetensors.index.json: in which file each tensor is.

    ``parameters``: how many numbers they have in all, which transformers writes too.
    """
    places = {item.name: name for name, items in files.items() for item in items}
    total = {"total_size": sum(item.size for items in files.values() for item in items)}
    if parameters is not None:
        total["total_parameters"] = parameters
    index = {"metadata": total, "weight_map": places}
    return json.dumps(index, indent=2, sort_keys=True) + "\n"
