"""Auditing: what it costs against one forward and backward pass, in time and in memory."""

import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

import fanin
import tracing
from timing import Row

__all__ = ["audits", "memory"]

Case = tuple[nn.Module, Tensor, Tensor]


def perceptron() -> nn.Module:
    """30 layers of 512 with ReLU, and a readout."""
    layers = [layer for _ in range(30) for layer in (nn.Linear(512, 512), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def cases() -> dict[str, Case]:
    """Models by description, each with its batch and labels."""
    tokens = torch.randint(1000, (8, 128))
    images, rows = torch.randn(16, 3, 32, 32), torch.randn(256, 512)
    return {
        "transformer, 12 layers of 256, batch 8 x 128": (tracing.transformer(256), tokens, tokens),
        "convolutional, 50 layers of 32, batch 16 x 32 x 32": (
            tracing.convolutional(), images, torch.arange(16) % 10,
        ),
        "perceptron, 30 layers of 512, batch 256": (perceptron(), rows, torch.arange(256) % 10),
    }  # fmt: skip


def step(model: nn.Module, batch: Tensor, labels: Tensor) -> None:
    """One forward and backward pass; the gradients are dropped."""
    output = model(batch)
    functional.cross_entropy(output.flatten(0, -2), labels.flatten()).backward()
    for parameter in model.parameters():
        parameter.grad = None


def peers(model: nn.Module, batch: Tensor) -> dict[str, Callable[[], object]]:
    """What else looks at a model's signals, where it is installed."""
    found: dict[str, Callable[[], object]] = {}
    if importlib.util.find_spec("torchinfo"):
        import torchinfo

        found["torchinfo summary"] = partial(
            torchinfo.summary, model, input_data=batch, verbose=0, device="cpu"
        )
    if importlib.util.find_spec("torchlens"):
        import torchlens

        found["torchlens"] = partial(torchlens.trace, model, batch)
    return found


def audits(*, quick: bool) -> list[Row]:
    """One audit, and others' looks at a model, against one forward and backward pass, in turn."""
    rows: list[Row] = []
    for name, (model, batch, labels) in cases().items():
        model.train()
        runs = {"pass": partial(step, model, batch, labels)}
        runs |= {"audit": partial(fanin.audit, model, batch, target=labels)}
        runs |= peers(model, batch)
        seconds = in_turn(runs, 3 if quick else 9)
        rows.append(
            {
                "model": name,
                "forward and backward, ms": statistics.median(seconds["pass"]) * 1e3,
                "audit / that": ratio(seconds["audit"], seconds["pass"]),
            }
            | {
                f"{peer} / that": ratio(seconds[peer], seconds["pass"])
                if peer in seconds
                else "not installed"
                for peer in ("torchinfo summary", "torchlens")
            }
        )
    return rows


def in_turn(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, repeat by repeat, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


MEASURED = """
import json, resource
import torch
import fanin, audit
model, batch, labels = audit.cases()[{name!r}]
run = {run}
run()
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""
RUNS = {
    "start": "lambda: None",
    "pass": "lambda: audit.step(model, batch, labels)",
    "audit": "lambda: fanin.audit(model, batch, target=labels)",
}


def memory(*, quick: bool) -> list[Row]:
    """The most memory of a process that audits, beside one forward and backward pass."""
    rows: list[Row] = []
    for name in list(cases())[: 1 if quick else None]:
        peak = {
            run: tracing.in_a_process(MEASURED.format(name=name, run=code))[0] / 1e3
            for run, code in RUNS.items()
        }
        rows.append(
            {
                "model": name,
                "the model alone, MB": peak["start"],
                "one pass adds, MB": peak["pass"] - peak["start"],
                "an audit adds, MB": peak["audit"] - peak["start"],
                "peaks, audit / pass": peak["audit"] / peak["pass"],
            }
        )
    return rows
