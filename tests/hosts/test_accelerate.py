"""docs/how-to/accelerate.md, run with Accelerate."""

import pytest
import torch
from tests.hosts.pages import needs, run_page

needs("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages


@pytest.fixture(scope="module")
def page():
    """The names that the page defines."""
    return run_page("accelerate.md")


def test_a_streamed_model_is_the_applied_one(page):
    """Bit for bit, with nothing left on the meta device."""
    other = page["Model"]()
    page["plan"].apply(other, seed=0)
    for name, parameter in page["model"].named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name
    assert not any(one.is_meta for one in page["model"].parameters())


def test_the_tie_is_whole_again(page):
    """One tensor under two names, as it was made."""
    assert page["model"].head.weight is page["model"].table.weight
    assert page["model"](torch.zeros(2, 16, dtype=torch.int64)).shape == (2, 16, 256)


def test_buffers_are_left_to_their_module(page):
    """Under init_empty_weights they keep their values; the plan does not fill them."""
    import fanin

    with page["init_empty_weights"]():
        norm = torch.nn.BatchNorm1d(4)
    plan = fanin.plan(norm, torch.randn(8, 4))
    assert not norm.running_var.is_meta
    assert plan["running_var"].state == "kept"
    assert "running_var" not in dict(plan.stream(norm, seed=0))
