"""docs/how-to/write-a-checkpoint.md: its code runs, and its command prints what it shows."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from tests.hosts.pages import blocks, needs
from tests.hosts.test_command_line_page import shown

import fanin

PAGE = "write-a-checkpoint.md"
CHECKSUM = re.compile(r"plan [0-9a-f]{16}")


@pytest.fixture
def page(tmp_path, monkeypatch, capsys):
    """The names that the blocks without transformers define, and what they printed."""
    monkeypatch.chdir(tmp_path)
    code = [block for block in blocks(PAGE, "python") if "transformers" not in block]
    names = {"__name__": "page"}
    with warnings.catch_warnings():  # those of torch, about one process
        warnings.simplefilter("ignore")
        for block in code:
            exec(compile(block, PAGE, "exec"), names)  # noqa: S102 - our own page
    return {**names, "printed": capsys.readouterr().out}


def test_the_page_prints_what_it_says(page):
    """The comment is its output."""
    comment = blocks(PAGE, "python")[0].splitlines()[-1]
    assert page["printed"] == comment.removeprefix("# ") + "\n"


def test_both_formats_have_the_weights_of_materialize(page):
    """The one in bfloat16, the other in the model's own dtype."""
    built = page["make"]()
    page["plan"].apply(built, seed=0)
    assert all(torch.equal(page["state"][name], one) for name, one in built.state_dict().items())
    assert page["receipt"].tensors == len(page["state"])


def test_the_command_prints_what_the_page_shows(tmp_path, monkeypatch, capsys):
    """A page with yesterday's output teaches the wrong thing."""
    monkeypatch.chdir(tmp_path)
    code = blocks(PAGE, "python")[0].partition("with torch.device")[0]
    Path("net.py").write_text(code, encoding="utf-8")
    (console,) = blocks(PAGE, "console")
    printed = [line for line in shown(console).splitlines() if "% written" not in line]
    # The checksum changes with every improvement of the default recipe.
    wanted, found = (CHECKSUM.sub("", text) for text in (console, "\n".join(printed) + "\n"))
    assert found == wanted


@pytest.mark.filterwarnings("ignore")  # those of other packages
def test_transformers_reads_the_pages_checkpoint(tmp_path, monkeypatch):
    """And has the weights of the plan."""
    needs("transformers", "safetensors")
    monkeypatch.chdir(tmp_path)
    (block,) = [one for one in blocks(PAGE, "python") if "transformers" in one]
    names = {"torch": torch, "fanin": fanin}
    exec(compile(block, PAGE, "exec"), names)  # noqa: S102 - our own page
    direct = names["LlamaForCausalLM"](names["config"]).bfloat16()
    names["llama_plan"].apply(direct, seed=0)
    found = names["loaded"].state_dict()
    assert all(torch.equal(found[name], one) for name, one in direct.state_dict().items())
