"""A part of a model, such as a stage of a pipeline: the numbers of the whole, by its names."""

import pytest
import torch
from tests.distributed.worker import local, materialize
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import SplitPoint, pipeline

import fanin
from fanin import FaninError
from fanin.initializers import Normal

PARTS = ("weight", "bias")


class Block(nn.Module):
    """A branch with a norm."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Decoder(nn.Module):
    """As torchtitan has them: layers by name, and what a stage does not have is None."""

    def __init__(self, width=8, words=16):
        super().__init__()
        self.table = nn.Embedding(words, width, padding_idx=2)
        self.layers = nn.ModuleDict({str(number): Block(width) for number in range(4)})
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("steps", torch.zeros(3))

    def forward(self, x):
        x = self.table(x) if self.table else x
        for layer in self.layers.values():
            x = layer(x)
        return self.head(self.norm(x)) if self.head else x


def planned():
    plan = fanin.plan(Decoder(), torch.arange(6).view(2, 3))
    return plan.replace({"norm.weight": Normal(0.1, 1.0)})


def stage(first, last):
    """Layers from ``first`` to before ``last``, on the meta device."""
    with torch.device("meta"):
        model = Decoder()
    for number in range(4):
        if not first <= number < last:
            del model.layers[str(number)]
    if first > 0:
        model.table = None
    if last < 4:
        model.norm = model.head = None
    return model


def whole(plan):
    model = Decoder()
    plan.apply(model, seed=3)
    return model


def test_the_stages_of_a_pipeline_have_the_numbers_of_the_whole():
    """Each draws what it has, and its receipt names what it has not."""
    plan = planned()
    reference, seen = whole(plan), set()
    for first, last in ((0, 1), (1, 3), (3, 4)):
        model = stage(first, last)
        receipt = materialize(plan, model, seed=3, part=True)
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, reference.get_parameter(name))
        assert torch.equal(model.steps, reference.steps)
        states = {stamp.name: stamp.state for stamp in receipt.tensors}
        assert states.keys() == {entry.name for entry in plan}
        absent = {name for name, state in states.items() if state == "absent"}
        seen |= states.keys() - absent
    assert seen == {entry.name for entry in plan}


def test_a_table_tied_to_a_head_in_another_stage_starts_as_that_head():
    """One entry of the plan; its padding row is zero in both."""
    plan, first, last = planned(), stage(0, 1), stage(3, 4)
    for model in (first, last):
        receipt = materialize(plan, model, seed=3, part=True)
        assert receipt["table.weight"].state == "filled"
    assert torch.equal(first.table.weight, last.head.weight)
    assert not last.head.weight[2].any()
    assert torch.equal(first.table.weight, whole(plan).table.weight)


def test_a_tie_within_a_part_is_restored():
    """`to("meta")` undid it."""
    model = Decoder().to("meta")
    del model.layers["0"]
    materialize(planned(), model, seed=3, part=True)
    assert model.head.weight is model.table.weight


class Plain(nn.Module):
    """What torch can cut into stages by itself."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)])

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


@pytest.mark.filterwarnings("ignore")  # of torch's own, from the export
def test_stages_that_torch_cuts_keep_the_names():
    """`torch.distributed.pipelining` makes modules of its own for them."""
    batch, reference = torch.randn(2, 6), Plain()
    plan = fanin.plan(Plain(), batch)
    plan.apply(reference, seed=3)
    where = {"layers.2": SplitPoint.BEGINNING}
    pipe = pipeline(Plain(), mb_args=(batch,), split_spec=where)
    for number, layers in enumerate(((0, 1), (2, 3))):
        stage_of_it = pipe.get_stage_module(number)
        materialize(plan, stage_of_it, seed=3, part=True)
        found = dict(stage_of_it.named_parameters())
        assert found.keys() == {f"layers.{one}.{part}" for one in layers for part in PARTS}
        assert all(torch.equal(one, reference.get_parameter(name)) for name, one in found.items())


def test_a_part_must_be_asked_for():
    """Else a plan of another model, or a layer that was lost, would go unseen."""
    model = stage(0, 2)
    with pytest.raises(FaninError, match=r"(?s)layers\.2\.norm.*part=True"):
        materialize(planned(), model)
    assert all(one.is_meta for one in model.parameters())


def test_a_name_that_the_plan_does_not_have_is_an_error_in_a_part_too():
    """A misspelt layer is no stage."""
    model = stage(0, 2)
    model.layers["11"] = model.layers.pop("1")
    with pytest.raises(FaninError, match=r"(?s)layers\.11\.norm.*not in the plan"):
        materialize(planned(), model, part=True)


def numbered():
    return nn.Sequential(*(nn.Linear(6, 6) for _ in range(12)))


def test_a_piece_whose_layers_are_numbered_anew_is_named_by_prefixes():
    """The rest of a Sequential begins at 0 again; ``1`` is not a prefix of ``10``."""
    plan = fanin.plan(numbered(), torch.randn(2, 6)).replace({"*.bias": Normal(0.1)})
    reference = numbered()
    plan.apply(reference, seed=3)
    with torch.device("meta"):
        piece = nn.Sequential(*numbered()[1:])
    names = {str(number): str(number + 1) for number in range(11)}
    receipt = materialize(plan, piece, seed=3, part=True, names=names)
    for mine, other in zip(piece, reference[1:], strict=True):
        assert torch.equal(mine.weight, other.weight)
        assert torch.equal(mine.bias, other.bias)
    assert receipt["11.bias"].state == "filled"
    assert receipt["0.bias"].state == "absent"


def test_a_wrapper_of_the_users_own_is_named_away():
    """The whole model, under an attribute that is no wrapper of torch's."""
    plan, host = planned(), nn.Module()
    with torch.device("meta"):
        host.module = Decoder()
    materialize(plan, host, seed=3, names={"module": ""})
    reference = whole(plan)
    for name, parameter in host.module.named_parameters():
        assert torch.equal(parameter, reference.get_parameter(name))
    assert host.module.head.weight is host.module.table.weight


def test_a_module_alone_is_named_by_its_path():
    """An empty name stands for all of it."""
    plan = planned()
    with torch.device("meta"):
        block = Block(8)
    materialize(plan, block, seed=3, part=True, names={"": "layers.2"})
    assert torch.equal(block.up.weight, whole(plan).layers["2"].up.weight)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ({"layer.0": "layers.3"}, "nothing of this name"),
        ({"layers.0": "layers.1"}, "one name in the plan"),
        ({0: "layers.1"}, "a mapping from a name"),
        ("layers", "a mapping from a name"),
    ],
)
def test_names_that_say_nothing_are_refused(names, what):
    """An unused prefix is a misspelt one."""
    model = stage(0, 2)
    with pytest.raises(FaninError, match=what):
        materialize(planned(), model, part=True, names=names)
    assert all(one.is_meta for one in model.parameters())


def test_a_sharded_stage_draws_its_shards(group):
    """A pipeline of stages, each under FSDP."""
    plan = planned()
    model, reference = fully_shard(stage(1, 4)), whole(plan)
    materialize(plan, model, seed=3, part=True)
    for name, parameter in model.named_parameters():
        rows = reference.get_parameter(name).chunk(4)
        assert torch.equal(local(parameter), rows[1])


def test_a_module_without_tensors_has_nothing_to_start():
    """FSDP1 asks for every module of a unit, activations too."""
    plan = planned()
    receipt = plan.materialize(nn.ReLU(), seed=3, part=True, names={"": "layers.2.act"})
    assert {stamp.state for stamp in receipt.tensors} == {"absent"}
    found = plan.verify(nn.ReLU(), seed=3, part=True)
    assert found.tensors == ()
    assert "holds nothing of the planned start" in str(found)
    with pytest.raises(FaninError, match="no tensors"):
        plan.materialize(nn.ReLU(), seed=3, part=True, names={"act": "layers.2.act"})


def test_the_init_function_of_a_module_without_parameters_is_empty():
    """A loop over all modules asks for the root too."""
    plan = planned()
    assert plan.param_init(seed=0) == {}
    with pytest.raises(FaninError, match="no module of the plan"):
        plan.param_init("layer.2", seed=0)
