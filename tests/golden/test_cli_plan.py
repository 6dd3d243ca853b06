"""``fanin plan`` and ``fanin explain``, word for word, and what each option does.

The texts are in ``cli_plan.txt``, as a terminal shows them. To change them on purpose: run this
file (``python -m tests.golden.test_cli_plan``), read the difference, and commit it with its reason.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.golden.commands import transcript, write_texts

from fanin import Plan, recipes
from fanin._cli import main

GOLDEN = Path(__file__).parent / "cli_plan.txt"

FILES = {
    "net.py": """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self, depth=3, width=16):
                super().__init__()
                print("the user's code prints")
                self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
                self.norm = nn.LayerNorm(width)
                self.head = nn.Linear(width, 10)
                self.scale = nn.Parameter(torch.full((10,), torch.nan))

            def forward(self, x):
                for layer in self.layers:
                    x = torch.relu(layer(x))
                return self.head(self.norm(x)) * self.scale

        def broken():
            raise RuntimeError("no data set here")

        def stopped():
            raise KeyboardInterrupt

        class Classifier(nn.Sequential):
            def __init__(self, size=8):
                super().__init__(nn.Linear(size, 4))
    """,
    "data.py": """
        import torch

        def batch():
            return {"x": torch.ones(5, 16)}

        ready = (torch.ones(6, 16),)
    """,
    "mine.py": """
        from fanin.initializers import Normal, Zeros

        def small(site):
            "w ~ N(0, 0.02²), biases 0; scales are left to others."
            if site.role == "elementwise":
                return None
            return Zeros if site.role == "bias" else Normal(0.02)

        def total(site):
            "Everything is zero."
            return Zeros
    """,
}

TRANSCRIPT = (
    "fanin plan net.py:Net --input 64x16 --recipe mine.py:small",
    "fanin plan net.py:Net --set depth=2 --input 64x16 --recipe mine.py:small --save net.json",
    "fanin plan net.json --strict",
    "fanin plan net.py:Net --input 64x16 --recipe mine.py:total --strict",
    "fanin explain net.json layers.0.weight head.*",
    "fanin explain net.json layer.0.weight",
    "fanin plan net.json --recipe gpt2 --meta",
    "fanin plan nett.py:Net",
    "fanin plan net.py",
    "fanin plan net.py:Nett",
    "fanin plan net.py:broken",
    "fanin plan net.py:Net --set width=8,depth=2",
    "fanin plan net.py:Net --set dept=2",
    "fanin plan net.py:Net",
    "fanin plan net.py:Net --input 64x17",
    "fanin plan net.py:Net --input 64*16",
    "fanin plan net.py:Net --input 64x16 --batch data.py:batch",
    "fanin plan net.py:Net --batch data.py:bacth",
    "fanin plan net.py:Net --input 64x16 --recipe steadi",
    "fanin plan net.py:Net --input 64x16 --recipe data.py:ready",
    "fanin plan missing.json",
    "fanin plan hf:gpt2",
)


def without_transformers():
    """The transcript, on a machine without transformers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformers", None)
        return transcript(TRANSCRIPT, partial(write_texts, FILES))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with a model, a batch and two recipes."""
    write_texts(FILES, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*words):
    return main(["plan", "net.py:Net", *words])


def test_the_text_is_as_written():
    """What a user reads changes only on purpose."""
    assert without_transformers() == GOLDEN.read_text(encoding="utf-8")


def test_json_is_the_plan_and_nothing_else(folder, capsys):
    """Whatever the user's code prints: a program reads it."""
    assert plan("--input", "4x16", "--json", "--save", "net.json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)
    assert Plan.from_json(printed.out) == Plan.load("net.json")
    assert "the user's code prints" in printed.err


def test_the_default_recipe_is_the_librarys(folder, capsys):
    """The same as of fanin.plan."""
    assert plan("--input", "4x16", "--json") == 0
    assert Plan.from_json(capsys.readouterr().out).recipe == recipes.steady.name


@pytest.mark.parametrize("spec", ["data.py:batch", "data:batch", "data.py:ready"])
def test_a_batch_is_what_the_users_code_gives(folder, spec, capsys):
    """A function is called; a value is taken as it is; both may be what a model is called with."""
    assert plan("--batch", spec) == 0
    assert f"run on {spec}" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_the_mode_is_the_one_asked_for(folder, mode, capsys):
    """A model may have paths that only training takes."""
    assert plan("--input", "4x16", "--mode", mode, "--json") == 0
    assert Plan.from_json(capsys.readouterr().out).mode == mode


def test_meta_plans_what_no_memory_holds(folder, capsys):
    """A trillion weights."""
    words = ["--meta", "--set", "width=1000000", "--input", "4x1000000"]
    assert plan(*words, "--recipe", "mine.py:small") == 0
    assert "1000000x1000000" in capsys.readouterr().out


def test_strict_fails_where_a_tensor_is_claimed_by_nobody(folder, capsys):
    """And says which, on standard error, so that the plan is still on standard output."""
    words = ["--input", "4x16", "--recipe", "mine.py:small"]
    assert plan(*words) == 0
    capsys.readouterr()
    assert plan(*words, "--strict", "--json") == 1
    printed = capsys.readouterr()
    assert "scale: " in printed.err
    assert Plan.from_json(printed.out).unclaimed[0].name == "scale"


def test_a_saved_plan_is_read_without_the_model(folder, capsys):
    """No code of the user's runs for it."""
    assert plan("--input", "4x16", "--recipe", "mine.py:small", "--save", "net.json") == 0
    (folder / "net.py").unlink()
    shown = capsys.readouterr().out
    assert main(["plan", "net.json"]) == 0
    lines = shown.splitlines()[2:]  # after what was made, and where it was saved
    assert capsys.readouterr().out.splitlines()[1:] == lines


def test_a_directory_that_is_not_there_is_told_before_the_model_is_made(folder, capsys):
    """Not after minutes of making it."""
    assert plan("--input", "4x16", "--save", "nowhere/net.json") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: there is no directory to save the plan in\n")
    assert "the user's code prints" not in printed.err
    assert printed.out == ""


def test_a_tensor_is_explained_once_whatever_names_it(folder, capsys):
    """A name and a pattern may mean the same."""
    assert plan("--input", "4x16", "--recipe", "mine.py:small", "--save", "net.json") == 0
    capsys.readouterr()
    assert main(["explain", "net.json", "head.weight", "head.*"]) == 0
    out = capsys.readouterr().out
    assert out.count("head.weight,") == 1
    assert len(out.split("\n\n")) == 2


def test_ctrl_c_in_the_users_code_is_exit_code_130(folder, capsys):
    """As everywhere."""
    assert main(["plan", "net.py:stopped"]) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C; no unfinished file is left\n"


def test_a_terminal_shows_what_is_going_on(folder, capsys, monkeypatch):
    """Making and running a large model takes minutes; elsewhere standard error stays empty."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert plan("--input", "4x16") == 0
    assert "making net.py:Net" in capsys.readouterr().err


def test_the_current_directory_is_found_by_the_installed_command_too(folder):
    """A console script does not have it on the path by itself."""
    code = "import sys; sys.path.remove(''); from fanin._cli import main; sys.exit(main())"
    words = ["plan", "net:Net", "--input", "4x16"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(recipes.__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr.decode()


if __name__ == "__main__":
    GOLDEN.write_text(without_transformers(), encoding="utf-8")
