"""docs/how-to/sharded-models.md, on torch's fake process group: rank 1 of 4."""

import pytest
import torch
import torch.distributed as dist
from tests.hosts.pages import run_page
from torch.testing._internal.distributed.fake_pg import FakeStore


@pytest.fixture
def group():
    """A world whose other ranks do not exist."""
    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=4)
    yield
    dist.destroy_process_group()


def test_the_page_fills_what_it_shards(group):
    """A rank's rows are those of the whole model, and the table of positions is there."""
    page = run_page("sharded-models.md")
    whole = page["make"]()
    page["plan"].apply(whole, seed=0)
    for name, parameter in page["model"].named_parameters():
        rows = whole.get_parameter(name).chunk(4)[1]
        assert torch.equal(parameter.to_local(), rows)
    assert {stamp.state for stamp in page["receipt"].tensors} == {"filled"}
    small = page["small"]
    assert small[1].angles[0].eq(0).all()
    assert all(tensor.isfinite().all() for tensor in small.state_dict().values())
