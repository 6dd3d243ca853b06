"""What is in the files: the tensors of `Plan.apply` and `Plan.materialize`, bit for bit."""

import pytest
import torch
from tests.checkpoint.samples import (
    BATCH,
    TOKENS,
    Experts,
    Tied,
    contents,
    mlp,
    on_meta,
    read,
    read_all,
    same,
)
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import _checkpoint
from fanin._checkpoint import _shard
from fanin.initializers import (
    ICNR,
    Chrono,
    Constant,
    Custom,
    Normal,
    Orthogonal,
    ScaledOutputs,
    Sparse,
    Uniform,
    VarianceScaling,
    Zeros,
)
from fanin.recipes import Keep

write = fanin.write_checkpoint


@pytest.fixture
def small_buffers(monkeypatch):
    """Parts of 100 bytes, so that small tensors are cut in many places."""
    monkeypatch.setattr(_shard, "_BUFFER", 100)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("make", [mlp, Tied], ids=["batch norm", "tied"])
def test_the_file_holds_what_materialize_gives(make, dtype, tmp_path, small_buffers):
    """Whatever the dtype, with persistent buffers, and each tied tensor once."""
    model = on_meta(make)
    plan = fanin.plan(model, BATCH if make is mlp else TOKENS)
    receipt = write(plan, model, tmp_path / "out", seed=3, dtype=dtype)
    assert all(one.is_meta for one in model.parameters())
    model.scale = torch.ones(1)  # is not saved, and not needed for that
    plan.materialize(model, seed=3, dtype=dtype)
    state, found = model.state_dict(), read_all(tmp_path / "out")
    state.pop("head.weight", None)
    assert found.keys() == state.keys()
    assert all(same(found[name], state[name]) for name in state)
    assert receipt.tensors == len(state)
    assert receipt.size == sum(one.nbytes for one in state.values())


def test_the_stamps_are_those_of_apply(tmp_path):
    """So that a receipt of a run tells whether it began from this checkpoint."""
    model = mlp()
    plan = fanin.plan(model, BATCH)
    (file,) = write(plan, on_meta(mlp), tmp_path, seed=1).files
    applied = {stamp.name: stamp.checksum for stamp in plan.apply(model, seed=1).tensors}
    assert {stamp.name: stamp.checksum for stamp in file.tensors} == applied


STARTS = {
    "normal": Normal(0.3),
    "cut": Normal(0.3, 0.5, cut=2),
    "uniform": Uniform(-1, 2),
    "constant": Constant(0.5),
    "variance scaling": VarianceScaling(fan="avg"),
    "scaled outputs": ScaledOutputs(Normal(1.0), tuple(range(1, 31))),
    "orthogonal": Orthogonal(1.5),
    "sparse": Sparse(4),
    "of the user's": Custom(lambda tensor, layout: tensor.normal_()),
    "ICNR": ICNR(Normal(0.1), 1),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_every_kind_of_start_is_cut_without_a_seam(start, tmp_path, small_buffers):
    """Drawn in parts where a part costs its size, else whole."""
    model = mlp()
    plan = fanin.plan(model, BATCH).replace({"0.weight": start})
    write(plan, on_meta(mlp), tmp_path, seed=2, dtype=torch.bfloat16)
    plan.apply(model.bfloat16(), seed=2)
    assert same(read_all(tmp_path)["0.weight"], model[0].weight)


def test_gates_and_padding_rows_are_cut_without_a_seam(tmp_path, small_buffers):
    """A bias that is computed whole, and a row of zeros in the middle of a part."""
    plan = fanin.plan(Tied(), TOKENS)
    plan = plan.replace({"rnn.bias_ih_l0": Chrono(50), "table.weight": Normal(1.0, 0.5)})
    write(plan, on_meta(Tied), tmp_path, seed=2)
    model = Tied()
    plan.apply(model, seed=2)
    found = read_all(tmp_path)
    assert same(found["rnn.bias_ih_l0"], model.rnn.bias_ih_l0)
    assert same(found["table.weight"], model.table.weight)
    assert not found["table.weight"][3].any()


def test_experts_are_made_one_at_a_time(tmp_path, monkeypatch):
    """A tensor of many orthogonal matrices is never whole."""
    plan = fanin.plan(Experts(), BATCH).replace({"weight": Orthogonal()})
    assert plan["weight"].site.layout.axes[0] == "batch"
    taken = []
    take = _checkpoint._sources.Drawn.take

    def noted(self, region, out):
        made = []
        part = Orthogonal.part
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Orthogonal, "part", lambda *a: made.append(1) or part(*a))
            take(self, region, out)
        taken.append((region.count, len(made)))

    monkeypatch.setattr(_checkpoint._sources.Drawn, "take", noted)
    write(plan, on_meta(Experts), tmp_path, seed=0)
    assert taken == [((1, 20, 20), 1)] * 3
    model = Experts()
    plan.apply(model, seed=0)
    assert same(read_all(tmp_path)["weight"], model.weight)


@pytest.mark.parametrize("most", [1, 300, 1000, "3KB"])
def test_many_files_hold_what_one_holds(most, tmp_path):
    """No file is larger, but for one tensor alone."""
    model = on_meta(Tied)
    plan = fanin.plan(model, TOKENS)
    write(plan, model, tmp_path / "one", seed=0)
    receipt = write(plan, model, tmp_path / "many", seed=0, shard_size=most)
    one, many = read_all(tmp_path / "one"), read_all(tmp_path / "many")
    assert one.keys() == many.keys()
    assert all(same(one[name], many[name]) for name in one)
    assert len(receipt.files) > 1
    limit = 3000 if most == "3KB" else most
    for file in receipt.files:
        tensors, metadata = read(tmp_path / "many" / file.name)
        assert metadata == {"format": "pt"}
        assert len(tensors) == 1 or sum(one.nbytes for one in tensors.values()) <= limit
        assert (tmp_path / "many" / file.name).stat().st_size == file.size


def test_a_model_with_memory_gives_what_the_plan_keeps(tmp_path, small_buffers):
    """As it is, also in another dtype and order of memory; the rest is drawn, and it stays."""
    model = mlp()
    model[3].weight = nn.Parameter(torch.randn(30, 5).t())
    model[2].running_mean.normal_()
    plan = fanin.plan(model, BATCH).replace({"3.*": Keep("loaded")})
    before = {name: one.clone() for name, one in model.state_dict().items()}
    receipt = write(plan, model, tmp_path, seed=0, dtype=torch.bfloat16)
    found = read_all(tmp_path)
    for name in ("3.weight", "3.bias", "2.running_mean"):
        assert same(found[name], before[name])
    assert found["0.weight"].dtype == torch.bfloat16
    assert not found["0.weight"].equal(before["0.weight"].bfloat16())
    assert all(same(one, before[name]) for name, one in model.state_dict().items())
    states = {stamp.name: stamp.state for stamp in receipt.files[0].tensors}
    assert (states["3.weight"], states["0.weight"]) == ("kept", "filled")


def test_what_to_empty_left_in_a_buffer_is_not_written(tmp_path):
    """The module's own values are, as `materialize` writes them; a rule keeps what is there."""
    plan, model = fanin.plan(on_meta(mlp), BATCH), on_meta(mlp).to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.fill_(7)
    write(plan, model, tmp_path / "start", seed=0)
    found = read_all(tmp_path / "start")
    assert (found["2.running_var"] == 1).all()
    assert (found["2.running_mean"] == 0).all()
    kept = plan.replace({"2.running_var": Keep("loaded")})
    write(kept, model, tmp_path / "kept", seed=0)
    assert (read_all(tmp_path / "kept")["2.running_var"] == 7).all()


def test_ties_that_the_move_to_meta_undid_are_written_once(tmp_path):
    """Two parameters of the model, one of the plan."""
    plan = fanin.plan(Tied(), TOKENS)
    model = Tied().to("meta")
    assert model.head.weight is not model.table.weight
    write(plan, model, tmp_path, seed=0)
    assert "head.weight" not in read_all(tmp_path)


def normed():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(20, 30)), nn.Linear(30, 5))


def test_what_a_parametrization_keeps_is_written(tmp_path):
    """The weight computed from it is the draw."""
    model = normed()
    plan = fanin.plan(model, BATCH)
    write(plan, model, tmp_path, seed=0)
    plan.apply(model, seed=0)
    state, found = model.state_dict(), read_all(tmp_path)
    assert found.keys() == state.keys()
    assert all(same(found[name], state[name]) for name in state)


def test_wrappers_leave_no_mark_on_the_names(tmp_path):
    """A replicated model is read by the model inside."""
    model = mlp()
    plan = fanin.plan(model, BATCH)
    write(plan, nn.DataParallel(model), tmp_path, seed=0)
    assert read_all(tmp_path).keys() == model.state_dict().keys()


def test_tensors_of_no_entries_and_of_one_are_written(tmp_path):
    """Nothing to draw is no reason to leave a name out."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("none", torch.zeros(0, 3))
            self.register_buffer("flag", torch.tensor(True))
            self.register_buffer("turn", torch.tensor([1j]))
            self.fc = nn.Linear(20, 5)

        def forward(self, x):
            return self.fc(x)

    model = Odd()
    plan = fanin.plan(model, BATCH).replace({"fc.bias": Zeros})
    write(plan, model, tmp_path, seed=0)
    found = read_all(tmp_path)
    assert found["none"].shape == (0, 3)
    assert found["flag"].shape == ()
    assert found["turn"].item() == 1j


def test_generators_and_modes_stay_as_they_are(tmp_path):
    """Also where code of the user's draws."""
    plan = fanin.plan(mlp(), BATCH)
    plan = plan.replace({"0.weight": Custom(lambda tensor, layout: tensor.normal_())})
    state = torch.get_rng_state()
    write(plan, on_meta(mlp), tmp_path, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_the_seed_alone_decides(tmp_path):
    """The same bytes again; others with another seed."""
    plan = fanin.plan(mlp(), BATCH)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(plan, on_meta(mlp), tmp_path / name, seed=seed)
    first, second, third = (contents(tmp_path / name) for name in "abc")
    assert first == second
    assert first != third


def test_progress_counts_every_byte(tmp_path):
    """Up to all of them, in order."""
    told = []
    plan = fanin.plan(mlp(), BATCH)
    receipt = write(
        plan, on_meta(mlp), tmp_path, seed=0, progress=lambda *numbers: told.append(numbers)
    )
    assert told == sorted(told)
    assert told[-1] == (receipt.size, receipt.size)
