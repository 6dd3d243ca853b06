"""Compile the C core of the stream when fanin is built from source, where a compiler works.

Without one the wheel is pure Python and NumPy draws the same numbers, more slowly. ``CC`` names
the compiler; else cc, gcc and clang are tried.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

ENGINE = "src/fanin/_engine"
# Fused multiply-adds change bits: -ffp-contract=off is part of the definition of the numbers.
FLAGS = (
    "-std=gnu99",
    "-O3",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fPIC",
    "-shared",
    "-pthread",
    "-Wno-psabi",
)


class CoreBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts ``libcore.so`` beside ``core.c`` and tags the wheel with the platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Run by hatchling before a wheel, ordinary or editable, is put together."""
        if self.target_name != "wheel":
            return
        engine = Path(self.root, ENGINE)
        complaint = build(engine / "core.c", engine / "libcore.so")
        if complaint is None:
            build_data["pure_python"] = False
            build_data["infer_tag"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
            return
        self.app.display_warning(
            "fanin is built without its C core: NumPy will draw the same numbers, more slowly.\n"
            f"{complaint}\n"
            "To have the core, install a C compiler (or set CC) and install fanin again.",
        )


def build(source: Path, library: Path) -> str | None:
    """Compile ``source`` into ``library``; where no compiler can, remove it and say why."""
    complaints = []
    for compiler in compilers():
        # Beside the source: /tmp may forbid to load, and a rename must not cross file systems.
        with tempfile.TemporaryDirectory(dir=source.parent, prefix="libcore.") as folder:
            fresh = Path(folder, library.name)
            complaint = compile_with(compiler, source, fresh)
            if complaint is None:
                fresh.replace(library)
                return None
        complaints.append(f"{shlex.join(compiler)}: {complaint}")
    library.unlink(missing_ok=True)
    return "\n".join(complaints) or "no C compiler: cc, gcc and clang are not on the PATH"


def compilers() -> list[list[str]]:
    """The commands to try: only ``CC`` where it is set."""
    chosen = os.environ.get("CC", "")
    if chosen.strip():
        return [shlex.split(chosen)]
    return [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]


def compile_with(compiler: list[str], source: Path, library: Path) -> str | None:
    """None where the library is made and loads; else what went wrong."""
    command = [*compiler, *FLAGS, str(source), "-o", str(library)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        return error.stderr.strip() or f"exit status {error.returncode}"
    except OSError as error:
        return str(error)
    return None


def platform_tag() -> str:
    """The most specific platform that installs on this machine, with no claim about others."""
    named = (tag.platform for tag in sys_tags())
    return next(name for name in named if not name.startswith(("manylinux", "musllinux")))
