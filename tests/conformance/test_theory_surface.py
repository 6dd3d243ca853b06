"""The public names of fanin.theory: promised, exemplified, documented."""

import doctest
import inspect
from pathlib import Path

import pytest

from fanin import theory

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "theory.md"

NAMES = [
    "FixedPoint",
    "LogGrowth",
    "MeanField",
    "PhaseDiagram",
    "Spectrum",
    "batch_norm_gradient_growth",
    "edge_of_chaos",
    "initial_cross_entropy",
    "jacobian_spectrum",
    "log_growth",
    "phase_diagram",
    "residual_variance",
]


def test_the_names_of_the_theory_are_frozen():
    """A name that slips out must be kept for ever."""
    assert sorted(theory.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_theory_has_an_example_and_a_place_in_the_reference(name):
    """The first line is the promise; the example runs as a test."""
    found = getattr(theory, name)
    text = inspect.getdoc(found) or ""
    assert text.splitlines()[0].endswith((".", ":"))
    assert any(test.examples for test in doctest.DocTestFinder(recurse=False).find(found, name))
    assert name in PAGE.read_text()


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(theory.MeanField) if not name.startswith("_")]
)
def test_every_question_to_a_mean_field_is_in_the_reference(name):
    """Its fields and methods in one table."""
    assert f"`{name}" in PAGE.read_text()
