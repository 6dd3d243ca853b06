"""docs/how-to/sharded-models.md, on torch's fake process group: rank 1 of 4."""

import torch
from tests.hosts.pages import run_page


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


def test_the_stages_of_the_page_are_the_two_halves(group):
    """The second is numbered from 0, and named by the plan."""
    page = run_page("sharded-models.md")
    whole = page["make"]()
    page["plan"].apply(whole, seed=0)
    halves = [*page["first"], *page["second"]]
    for layer, wanted in zip(halves, whole, strict=True):
        for name, parameter in layer.named_parameters():
            assert torch.equal(parameter, wanted.get_parameter(name))
    assert page["receipt_of_first"]["3.weight"].state == "absent"


def test_fsdp1_of_the_page_holds_pieces_of_the_whole(group):
    """Each unit's weights in a row, cut in four."""
    page = run_page("sharded-models.md")
    whole = page["make"]()
    page["plan"].apply(whole, seed=0)
    wrapped = {
        name.replace("_fsdp_wrapped_module.", ""): parameter
        for name, parameter in page["wrapped"].named_parameters()
    }
    held = [name for name, parameter in wrapped.items() if parameter.numel()]
    assert len(held) > 3
    for name in held:
        windows = whole.get_parameter(name).flatten().unfold(0, wrapped[name].numel(), 1)
        assert (windows == wrapped[name]).all(1).any(), name
