"""A checkpoint of a model that is never in memory: time and memory, beside today's ways."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from timing import Row, peak_memory

__all__ = ["checkpoints"]

LLAMA_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
SMALL = {**LLAMA_1B, "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 4}
SIZES = {False: 2_472_000_000, True: 334_000_000}
"""Bytes of a file in bf16, small when quick."""
BLOCK = 1 << 24


def checkpoints(*, quick: bool) -> list[Row]:
    """A Llama of 1.2B parameters (0.2B when quick) in bf16, made, filled and written to the disk.

    Each way in a process of its own; files are on the disk when the clock stops. Memory is what
    the process has at most, less what ``import torch`` alone has. A plain write of as many bytes
    is measured after each way; the median counts.
    """
    if "error" in _measured("import", quick=quick, size=0):
        return [{"way": "not measured", "why": "transformers cannot be imported here"}]
    bare = _measured("bare", quick=quick, size=0)["memory"]
    found = {}
    plain = []
    size = SIZES[quick]
    # The first files that a machine writes get memory that it has not used for long.
    _measured("plain", quick=quick, size=size)
    for way in ("import", "fanin", "transformers", "torch"):
        found[way] = _measured(way, quick=quick, size=0)
        plain.append(_measured("plain", quick=quick, size=size))
    usual = statistics.median(one["write"] for one in plain)
    found["plain"] = {**plain[0], "write": usual}
    return [_row(SAID[way], one, bare, usual) for way, one in found.items()]


SAID = {
    "import": "the model on meta, nothing else",
    "fanin": "fanin.plan, fanin.write_checkpoint",
    "transformers": "from_config, save_pretrained",
    "torch": "to_empty, normal_, save_file",
    "plain": "a plain write of the same bytes",
}


def _row(way: str, found: dict[str, float], bare: float, plain: float) -> Row:
    is_written = found["bytes"] > 0
    return {
        "way": way,
        "made and planned, s": found["prepare"],
        "filled and written, s": found["write"] if is_written else "",
        "of that processors, s": found["busy"] if is_written else "",
        "times a plain write": found["write"] / plain if is_written else "",
        "memory over torch, MB": found["memory"] - bare,
        "written, MB": round(found["bytes"] / 1e6) if is_written else "",
    }


def _measured(way: str, *, quick: bool, size: int) -> dict[str, float]:
    """What a process of its own says."""
    with TemporaryDirectory() as directory:
        command = [sys.executable, "-W", "ignore", __file__, way, directory, str(int(quick))]
        done = subprocess.run([*command, str(size)], check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def process(way: str, directory: Path, *, quick: bool, size: int) -> dict[str, float]:
    """One way, from the first import after torch's to the last byte on the disk."""
    began = time.perf_counter()
    write = PREPARED[way](directory, SMALL if quick else LLAMA_1B, size)
    middle, busy = time.perf_counter(), time.process_time()
    write()
    busy = time.process_time() - busy
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return {
        "prepare": middle - began,
        "write": time.perf_counter() - middle,
        "busy": busy,
        "memory": peak_memory(),
        "bytes": float(sum(path.stat().st_size for path in directory.iterdir())),
    }


def _transformers() -> Any:  # noqa: ANN401 - without types here
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.zoo.packages import load

    return load("transformers")


def _llama(settings: dict[str, int]) -> Any:  # noqa: ANN401
    """The model on the meta device."""
    transformers = _transformers()
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))


def _nothing(*_: object) -> Callable[[], object]:
    return lambda: None


def _only_made(_: Path, settings: dict[str, int], __: int) -> Callable[[], object]:
    _llama(settings)
    return lambda: None


def _plainly(directory: Path, _: object, size: int) -> Callable[[], object]:
    data = memoryview(torch.randint(256, (BLOCK,), dtype=torch.uint8).numpy())

    def write() -> None:
        with (directory / "plain").open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(data[: min(BLOCK, size - start)])

    return write


def _by_fanin(directory: Path, settings: dict[str, int], _: int) -> Callable[[], object]:
    import fanin

    model = _llama(settings)
    plan = fanin.plan(model, model.dummy_inputs, recipe=fanin.recipes.gpt2)
    return lambda: fanin.write_checkpoint(plan, model, directory, seed=0, dtype=torch.bfloat16)


def _by_transformers(directory: Path, settings: dict[str, int], _: int) -> Callable[[], object]:
    transformers = _transformers()
    config = transformers.LlamaConfig(**settings, dtype="bfloat16")

    def write() -> None:
        model = transformers.AutoModelForCausalLM.from_config(config)
        model.save_pretrained(directory, max_shard_size="4GB")

    return write


def _by_torch(directory: Path, settings: dict[str, int], _: int) -> Callable[[], object]:
    from safetensors.torch import save_file

    model = _llama(settings)

    def write() -> None:
        model.bfloat16().to_empty(device="cpu")
        model.tie_weights()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.02)
        unique = {id(one): (name, one) for name, one in model.named_parameters()}
        save_file(dict(unique.values()), directory / "model.safetensors")

    return write


PREPARED: dict[str, Callable[[Path, dict[str, int], int], Callable[[], object]]] = {
    "bare": _nothing,
    "import": _only_made,
    "plain": _plainly,
    "fanin": _by_fanin,
    "transformers": _by_transformers,
    "torch": _by_torch,
}


if __name__ == "__main__":
    kind, place, is_quick, number = sys.argv[1:]
    try:
        said: object = process(kind, Path(place), quick=is_quick == "1", size=int(number))
    except ImportError as error:
        said = {"error": str(error)}
    print(json.dumps(said))
