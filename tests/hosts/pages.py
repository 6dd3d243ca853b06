"""Run the code of a page of docs/how-to as its reader would."""

import re
import warnings
from pathlib import Path

import pytest
from tests.zoo.packages import load

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def needs(*packages):
    """Skip this file where one of the packages is missing or cannot be imported, and say why."""
    for package in packages:
        try:
            load(package)
        except ImportError as error:
            why = f"{package} cannot be imported here: {error}"
            pytest.skip(why, allow_module_level=True)


def blocks(page, language):
    """The blocks of code of this language, in order."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def run_page(page, **names):
    """All Python of a page, run in one namespace of these names, which is returned."""
    namespace = {"__name__": "page", **names}
    code = compile("\n".join(blocks(page, "python")), str(HOW_TO / page), "exec")
    with warnings.catch_warnings():  # those of other packages
        warnings.simplefilter("ignore")
        exec(code, namespace)  # noqa: S102 - our own page
    return namespace


def states(model):
    """Copies of all parameters and buffers."""
    both = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in both}
