"""What is not written, and why: each refusal leaves the directory as it was."""

import json

import pytest
import torch
from tests.checkpoint.samples import BATCH, TOKENS, Tied, contents, mlp, on_meta, read_all, state
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import FaninError
from fanin._checkpoint import _directory, _journal
from fanin._checkpoint._check import Check
from fanin._checkpoint._directory import opened
from fanin._checkpoint._items import items_of
from fanin._engine import Region
from fanin.initializers import Custom, Zeros
from fanin.recipes import Keep, Recipe

write = fanin.write_checkpoint


@pytest.fixture(scope="module")
def plan():
    return fanin.plan(mlp(), BATCH)


@pytest.fixture
def written(plan, tmp_path):
    """A complete checkpoint of three files."""
    write(plan, on_meta(mlp), tmp_path / "out", seed=0, shard_size=1000)
    return tmp_path / "out"


@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_the_same_call_again_reads_what_is_there_and_changes_nothing(plan, tmp_path, kind):
    """So that a script that is started twice does no harm; a disk may be read-only by then."""
    options = {"seed": 0, "shard_size": 1000, "format": kind}
    first = write(plan, on_meta(mlp), tmp_path, **options)
    before, told = state(tmp_path), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_journal, "write_text", None)
        patch.setattr(_directory.os, "replace", None)
        again = write(
            plan,
            on_meta(mlp),
            tmp_path,
            **options,
            progress=lambda done, total: told.append(done == total),
        )
    assert (again, state(tmp_path)) == (first, before)
    assert told[-1]


OTHERS = {
    "the seed: 0 there, 1 here": {"seed": 1},
    "the dtype: own there, bfloat16 here": {"dtype": torch.bfloat16},
    "the size of files: 1 kB there, 2 kB here": {"shard_size": 2000},
    "the format": {"format": "dcp"},
}


@pytest.mark.parametrize(("says", "options"), OTHERS.items(), ids=OTHERS)
def test_another_checkpoint_in_the_directory_is_refused(plan, written, says, options):
    """By name of what differs; the files stay."""
    before = contents(written)
    with pytest.raises(FaninError, match=says):
        write(plan, on_meta(mlp), written, **{"seed": 0, "shard_size": 1000, **options})
    assert contents(written) == before


def test_sizes_that_read_alike_are_said_in_bytes(plan, tmp_path):
    """Both are 3.63 kB."""
    write(plan, on_meta(mlp), tmp_path, seed=0, shard_size=3628)
    with pytest.raises(FaninError, match="size of files: 3628 bytes there, 3627 bytes here"):
        write(plan, on_meta(mlp), tmp_path, seed=0, shard_size=3627)


def test_another_plan_is_refused(plan, written):
    """Two starts in one checkpoint would be nobody's."""
    other = plan.replace({"0.weight": 0.5})
    with pytest.raises(FaninError, match="the plan"):
        write(other, on_meta(mlp), written, seed=0, shard_size=1000)


def test_other_kept_values_are_refused_by_name(tmp_path):
    """They are not in the plan, and in the files that are complete."""
    model = mlp()
    plan = fanin.plan(model, BATCH).replace({"3.*": Keep("loaded")})
    write(plan, model, tmp_path, seed=0)
    model[3].bias.data.add_(1)
    with pytest.raises(
        FaninError, match=r"what is kept has other values there: 3\.bias\n"
    ) as error:
        write(plan, model, tmp_path, seed=0)
    assert "torch.manual_seed" in error.value.fix
    without(tmp_path, "values", "dtype", "shard_size")
    with pytest.raises(FaninError, match=r"what is kept has other values there: 3\.bias\n"):
        write(plan, model, tmp_path, seed=0)


def without(directory, *names):
    """The journal as an older fanin wrote it."""
    path = directory / "fanin-checkpoint.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({name: one for name, one in data.items() if name not in names}))


def test_a_journal_without_the_later_fields_is_gone_on_with(plan, written):
    """An unfinished checkpoint outlives an update."""
    before = contents(written)
    without(written, "values", "dtype", "shard_size")
    (written / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FaninError, match="names, shapes, dtypes or sizes of files"):
        write(plan, on_meta(mlp), written, seed=0, shard_size=2000)
    write(plan, on_meta(mlp), written, seed=0, shard_size=1000)
    assert contents(written) == before


def test_another_size_of_files_that_gives_the_same_files_is_the_same_checkpoint(plan, tmp_path):
    """What is compared is what is written."""
    first = write(plan, on_meta(mlp), tmp_path, seed=0)
    assert write(plan, on_meta(mlp), tmp_path, seed=0, shard_size="1GB") == first


@pytest.mark.parametrize("seed", [2**62, 2**63, 2**64 - 1])
def test_every_seed_that_is_taken_can_be_gone_on_with(plan, tmp_path, seed):
    """The journal holds it as it is."""
    first = write(plan, on_meta(mlp), tmp_path, seed=seed)
    assert write(plan, on_meta(mlp), tmp_path, seed=seed) == first


@pytest.mark.parametrize("name", ["model.safetensors", "other.safetensors", "x.bin", ".metadata"])
def test_weights_of_somebody_else_are_not_overwritten(plan, tmp_path, name):
    """Nor mixed with: a reader would take the one or the other."""
    (tmp_path / name).write_text("mine")
    (tmp_path / "README.md").write_text("is no weight")
    with pytest.raises(FaninError, match="nothing is overwritten"):
        write(plan, on_meta(mlp), tmp_path, seed=0)
    assert sorted(contents(tmp_path)) == sorted([name, "README.md"])
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_that_was_changed_is_named_and_written_again_when_it_is_gone(plan, written):
    """One byte is enough."""
    before = contents(written)
    path = written / "model-00001-of-00003.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FaninError, match="was changed"):
        write(plan, on_meta(mlp), written, seed=0, shard_size=1000)
    path.unlink()
    write(plan, on_meta(mlp), written, seed=0, shard_size=1000)
    assert contents(written) == before


def test_another_index_is_not_overwritten(plan, written):
    """As any file."""
    index = written / "model.safetensors.index.json"
    index.write_text("{}")
    with pytest.raises(FaninError, match="nothing is overwritten"):
        write(plan, on_meta(mlp), written, seed=0, shard_size=1000)
    assert index.read_text() == "{}"


@pytest.mark.parametrize("text", ["", "{}", '{"format": "fanin-checkpoint", "schema": 7}'])
def test_a_journal_that_cannot_be_read_is_refused(plan, written, text):
    """It is not known then what the files are."""
    (written / "fanin-checkpoint.json").write_text(text)
    with pytest.raises(FaninError, match="cannot be read"):
        write(plan, on_meta(mlp), written, seed=0, shard_size=1000)


def test_the_journal_is_json_that_says_what_was_written(plan, written):
    """For people and other programs."""
    said = json.loads((written / "fanin-checkpoint.json").read_text())
    assert (said["format"], said["plan"], said["seed"]) == ("fanin-checkpoint", plan.checksum, 0)
    assert [file["name"] for file in said["files"]] == sorted(
        path.name for path in written.glob("*.safetensors")
    )


def test_one_process_at_a_time_writes_into_a_directory(plan, tmp_path):
    """Each rank of a job that calls it would write over the others' unfinished files."""
    with opened(tmp_path / "out"), pytest.raises(FaninError, match="another process"):
        write(plan, on_meta(mlp), tmp_path / "out", seed=0)
    write(plan, on_meta(mlp), tmp_path / "out", seed=0)


def test_directories_are_made_with_their_parents(plan, tmp_path):
    """As save_pretrained does."""
    write(plan, on_meta(mlp), tmp_path / "a" / "b" / "out", seed=0)
    assert len(read_all(tmp_path / "a" / "b" / "out")) == 9


def test_a_file_or_a_link_to_nothing_is_no_place(plan, tmp_path):
    """Said by what is in the way; nothing is made."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to(tmp_path / "none")
    places = {"file": "a file", "file/out": "a file", "link": "a link to nothing", "link/a": "link"}
    before = sorted(tmp_path.iterdir())
    for place, says in places.items():
        with pytest.raises(FaninError, match=f"(?s)no place for a checkpoint.*{says}"):
            write(plan, on_meta(mlp), tmp_path / place, seed=0)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_a_call_that_fails_before_a_file_is_complete_leaves_nothing(tmp_path, kind):
    """No directory, no journal: the next call may be of another plan, seed or format."""

    def fails(tensor, layout):
        raise RuntimeError("not today")

    with torch.device("meta"):
        model, batch = mlp(), torch.ones(8, 20)
    plan = fanin.plan(model, batch).replace({"0.weight": Custom(fails)})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README").write_text("is no weight")
    before = state(tmp_path)
    for place in ("a/b", "mine", "mine/a"):
        with pytest.raises(FaninError, match="not today"):
            write(plan, model, tmp_path / place, seed=0, format=kind)
    assert {path: text for path, (_, text) in state(tmp_path).items()} == {
        path: text for path, (_, text) in before.items()
    }


@pytest.mark.parametrize("kind", ["safetensors", "dcp"])
def test_a_file_of_the_users_is_never_written_over(plan, tmp_path, kind):
    """Whatever its name: what is unfinished is in a directory of fanin's own."""
    names = ["model.safetensors.part", "unfinished.part", "__0_0.distcp.part"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write(plan, on_meta(mlp), tmp_path, seed=0, format=kind)
    assert all((tmp_path / name).read_text() == "mine" for name in names)
    assert not (tmp_path / ".fanin-unfinished").exists()


class Tables(nn.Module):
    """Computes a buffer as it is made, which on the meta device leaves no values."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20, 5)
        self.register_buffer("angles", torch.arange(5.0).sin())

    def forward(self, x):
        return self.fc(x) + self.angles


def test_buffers_without_values_are_named(tmp_path):
    """A checkpoint with invented numbers would load."""
    model = on_meta(Tables)
    plan = fanin.plan(model, BATCH)
    with pytest.raises(FaninError, match="angles"):
        write(plan, model, tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()
    model.angles = torch.arange(5.0).sin()
    write(plan, model, tmp_path / "out", seed=0)
    assert torch.equal(read_all(tmp_path / "out")["angles"], model.angles)


class Stateful(nn.Linear):
    def get_extra_state(self):
        return {"calls": 3}


def test_what_is_no_tensor_is_named(tmp_path):
    """The file could not hold it, and the model would not load without."""
    model = Stateful(20, 5)
    with pytest.raises(FaninError, match="no tensor"):
        write(fanin.plan(model, BATCH), model, tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("buffer", "says"),
    [
        (torch.ones(2, dtype=torch.complex128), "no such dtype"),
        (torch.eye(2).to_sparse(), "only plain"),
    ],
)
def test_what_the_format_cannot_hold_is_named(plan, buffer, says, tmp_path):
    """Before anything is written."""
    model = mlp()
    model.register_buffer("extra", buffer)
    with pytest.raises(FaninError, match=says) as error:
        write(plan, model, tmp_path / "out", seed=0)
    assert error.value.where == "extra"
    assert not (tmp_path / "out").exists()


def test_a_parametrized_model_on_meta_is_refused(tmp_path):
    """What it is computed from has no memory to compute with."""
    model = on_meta(lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(20, 30))))
    plan = fanin.plan(model, BATCH)
    with pytest.raises(FaninError, match="parametrized"):
        write(plan, model, tmp_path / "out", seed=0)


def test_unclaimed_tensors_are_refused(tmp_path):
    """A plan that says nothing of a tensor is not finished."""
    recipe = Recipe("half", lambda site: Zeros if site.role == "bias" else None, "b = 0")
    model = mlp()
    unfinished = fanin.plan(model, BATCH, recipe=recipe)
    assert unfinished.unclaimed
    with pytest.raises(FaninError, match="nobody says"):
        write(unfinished, model, tmp_path / "out", seed=0)


def test_another_model_is_refused(plan, tmp_path):
    """As by apply."""
    with pytest.raises(FaninError, match="another model"):
        write(plan, on_meta(Tied), tmp_path / "out", seed=0)


BAD = {
    "not a plan": ("plan", None),
    "needs a seed": ("seed", None),
    r"\[0, 2\*\*64\)": ("seed", -1),
    r"not an integer in \[0, 2\*\*64\)": ("seed", 2**64),
    "no dtype": ("dtype", torch.int64),
    "no size": ("shard_size", "4 parsecs"),
    "size of a file": ("shard_size", 0),
    "no such format": ("format", "pickle"),
}


@pytest.mark.parametrize(("says", "argument"), BAD.items(), ids=BAD)
def test_arguments_are_checked_first(plan, tmp_path, says, argument):
    """Nothing is made."""
    arguments = {"plan": plan, "seed": 0, argument[0]: argument[1]}
    with pytest.raises(FaninError, match=says):
        write(arguments.pop("plan"), on_meta(mlp), tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_not_as_planned_are_not_written(plan):
    """The check that stands between a fault of the engine and a file."""
    item = items_of(plan, on_meta(mlp), seed=0, dtype=None)[0]
    region = Region.whole(item.shape)
    right = torch.empty(item.shape)
    item.source.take(region, right)
    for factor, fails in ((1.0, False), (2.0, True), (float("nan"), True)):
        check = Check(item, comparisons=10)
        check.add(right * factor, region)
        if fails:
            with pytest.raises(FaninError, match="not what the plan says"):
                check.finish()
        else:
            check.finish()


def test_tokens_and_plans_of_a_model_with_memory_do_not_need_it_again(tmp_path):
    """The plan of a built model fits the model on meta, where buffers come from the modules."""
    plan = fanin.plan(Tied(), TOKENS)
    write(plan, on_meta(Tied), tmp_path, seed=0)
    assert read_all(tmp_path)["steps"].item() == 0
