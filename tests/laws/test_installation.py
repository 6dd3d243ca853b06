"""fanin installs where there is no compiler, and then draws the same numbers."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import torch
from fanin._engine import describe
from fanin._stream import Stream, fill_normal
out = torch.empty(64)
fill_normal(out, Stream(0, "weight"), 0.0, 1.0)
print(describe().name, describe().why_not_native)
print(out.numpy().tobytes().hex())
"""


def build_wheel(folder: Path, **environment: str) -> Path:
    """A wheel of a copy of this tree, built as pip builds it."""
    copy = folder / "tree"
    copy.mkdir(parents=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("libcore.*", "__pycache__")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel"],
        cwd=copy,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    (wheel,) = (copy / "dist").glob("*.whl")
    return wheel


def run_from(wheel: Path, folder: Path) -> tuple[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("FANIN_ENGINE", None)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    report, numbers = found.stdout.splitlines()
    return report, numbers


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="needs hatchling")
def test_a_wheel_built_without_a_compiler_is_pure_and_draws_the_same_numbers(tmp_path):
    """The promise of the installation section of README."""
    pure = build_wheel(tmp_path / "pure", CC="/nonexistent")
    assert pure.name.endswith("-py3-none-any.whl")
    report, numbers = run_from(pure, tmp_path / "installed pure")
    assert report.startswith("plain ")
    if shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        compiled = build_wheel(tmp_path / "compiled")
        assert "-py3-none-any" not in compiled.name
        native_report, native_numbers = run_from(compiled, tmp_path / "installed compiled")
        assert native_report == "native None"
        assert native_numbers == numbers
