"""The public surface is what this file says: a new name is added here on purpose."""

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fanin

ROOT = Path(__file__).parents[2]

SURFACE = {
    "fanin": [
        "Block",
        "CheckpointReceipt",
        "Comparison",
        "Coverage",
        "Entry",
        "FaninError",
        "Fans",
        "Finding",
        "Gated",
        "Layout",
        "Limits",
        "Moments",
        "Plan",
        "Receipt",
        "Report",
        "Residual",
        "ScaleSweep",
        "Site",
        "Trace",
        "Verification",
        "__version__",
        "audit",
        "compare",
        "fans",
        "fill",
        "gain",
        "initialize",
        "initializers",
        "layout",
        "moments",
        "nn",
        "plan",
        "ray_executor",
        "recipes",
        "sweep_scale",
        "theory",
        "trace",
        "write_checkpoint",
    ],
    "fanin.initializers": [
        "Chrono",
        "Constant",
        "Custom",
        "DeltaOrthogonal",
        "ForgetGate",
        "Hadamard",
        "ICNR",
        "Identity",
        "Initializer",
        "InitializerLike",
        "LooksLinear",
        "Normal",
        "Ones",
        "Orthogonal",
        "PriorProbability",
        "ScaledOutputs",
        "Sparse",
        "Uniform",
        "VarianceScaling",
        "Zeros",
        "as_initializer",
        "from_json",
        "kaiming_normal",
        "kaiming_uniform",
        "lecun_normal",
        "lecun_uniform",
        "named",
        "names",
        "xavier_normal",
        "xavier_uniform",
    ],
    "fanin.recipes": [
        "Choice",
        "Decision",
        "Keep",
        "Recipe",
        "RecipeLike",
        "as_recipe",
        "deepnorm",
        "depth_scaled",
        "fixup",
        "gpt2",
        "gpt_neox",
        "kaiming",
        "keras_default",
        "lecun",
        "lsuv",
        "named",
        "names",
        "orthogonal",
        "orthogonal_matrices",
        "siren",
        "skip_init",
        "small_init",
        "steady",
        "torch_default",
        "variance_scaling",
        "xavier",
        "zero_residual",
    ],
}
LAYERS = importlib.import_module("fanin.nn").__all__
DOCUMENTED = [
    (module, name)
    for module, names in [*SURFACE.items(), ("fanin.nn", LAYERS)]
    for name in names
    if callable(getattr(importlib.import_module(module), name))
]


@pytest.mark.parametrize("module", SURFACE)
def test_the_public_names_are_frozen(module):
    """A name that slips out must be kept for ever."""
    assert sorted(importlib.import_module(module).__all__) == SURFACE[module]


@pytest.mark.parametrize("module", [*SURFACE, "fanin.nn"])
def test_every_public_name_exists_and_is_listed_by_dir(module):
    """The lazy module must answer as an ordinary one."""
    found = importlib.import_module(module)
    for name in found.__all__:
        assert getattr(found, name) is not None
    assert set(found.__all__) <= set(dir(found))


def test_an_unknown_name_is_an_attribute_error():
    """So that hasattr and star imports work."""
    with pytest.raises(AttributeError, match="no attribute 'plann'"):
        fanin.plann  # noqa: B018


@pytest.mark.parametrize(("module", "name"), DOCUMENTED, ids=lambda text: text)
def test_every_public_object_has_a_promise_and_an_executed_example(module, name):
    """The first line is the promise; an example prints a fact, and runs as a test."""
    found = getattr(importlib.import_module(module), name)
    if name in ("InitializerLike", "Decision", "RecipeLike"):
        pytest.skip("a type: what it admits is said where it is used")
    text = inspect.getdoc(found) or ""
    assert text.splitlines()[0].endswith((".", ":"))
    if inspect.isabstract(found) or name in ("Fans", "ray_executor"):
        return
    examples = doctest.DocTestFinder(recurse=False).find(found, name)
    assert any(test.examples for test in examples), f"{module}.{name} has no example"
    assert "+SKIP" not in text


@pytest.mark.parametrize(("module", "name"), DOCUMENTED, ids=lambda text: text)
def test_every_public_object_is_in_the_reference(module, name):
    """A reader who looks a name up finds it."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    assert name in pages, f"{module}.{name} is in no page of docs/reference"


def test_importing_fanin_does_not_import_torch():
    """So ``fanin --help`` answers at once."""
    code = "import sys, fanin, fanin._cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
