"""`missing_from`: what a checkpoint has is copied, the rest is drawn, and all of it is told."""

import json
import pickle
import resource

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.distributed.nets import TOKENS, Net
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import FaninError
from fanin.initializers import Custom, Normal
from fanin.recipes import Keep

SEED = 3
FORMAT = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}


def write_safetensors(path, tensors):
    """The format, as its page defines it; independent of what reads it."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": FORMAT[tensor.dtype], "shape": [*tensor.shape]}
        header[name]["data_offsets"] = place
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def sharded(folder, tensors):
    """Two files and their index."""
    folder.mkdir()
    names = list(tensors)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in files.items():
        write_safetensors(folder / file, {name: tensors[name] for name in some})
    table = {name: file for file, some in files.items() for name in some}
    text = json.dumps({"weight_map": table})
    (folder / "model.safetensors.index.json").write_text(text)
    return folder


def in_folder(folder, tensors):
    folder.mkdir()
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


FORMS = {
    "state dict": lambda folder, tensors: tensors,
    "safetensors": lambda folder, tensors: write_safetensors(folder / "m.safetensors", tensors),
    "its path as text": lambda folder, tensors: str(
        write_safetensors(folder / "m.safetensors", tensors)
    ),
    "index": lambda folder, tensors: sharded(folder / "m", tensors),
    "torch": lambda folder, tensors: saved(folder / "m.pt", tensors),
    "older torch": lambda folder, tensors: saved(
        folder / "m.pth", tensors, _use_new_zipfile_serialization=False
    ),
    "of a training": lambda folder, tensors: saved(
        folder / "m.ckpt", {"state_dict": tensors, "step": 3, "optimizer": {"lr": 0.1}}
    ),
    "pytorch_model.bin": lambda folder, tensors: in_folder(folder / "m", tensors),
}


def shifted(model, *, without=()):
    """A checkpoint of other numbers than any draw."""
    state = model.state_dict()
    found = {}
    for name, tensor in state.items():
        found[name] = (tensor + 1).clone() if tensor.is_floating_point() else tensor.clone() + 7
    return {name: tensor for name, tensor in found.items() if not name.startswith(tuple(without))}


def planned(make=Net):
    return fanin.plan(make(), TOKENS)


def on_meta(make):
    with torch.device("meta"):
        return make()


def words(number=10, width=4):
    return nn.Sequential(
        nn.Embedding(number, width, padding_idx=number - 1),
        nn.Linear(width, 6),
        nn.ReLU(),
        nn.Linear(6, number),
    )


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(
        one.dtype == second[name].dtype and torch.equal(one, second[name])
        for name, one in first.items()
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["apply", "materialize"])
def test_what_is_there_is_copied_and_the_rest_drawn(form, way, tmp_path):
    """Bit for bit, buffers and kept tensors too, in whatever form the checkpoint comes."""
    plan, whole = planned(), Net()
    plan.apply(whole, seed=SEED)
    stored = shifted(whole, without=("up.", "square.", "own.", "turn.scale"))
    given_as = FORMS[form](tmp_path, stored)
    if way == "apply":
        model = Net()
        receipt = plan.apply(model, seed=SEED, missing_from=given_as)
    else:
        model = on_meta(Net)
        receipt = plan.materialize(model, seed=SEED, missing_from=given_as)
    assert equal(model.state_dict(), whole.state_dict() | stored)
    assert model.head.weight is model.table.weight
    assert model.turn.angles.eq(whole.turn.angles).all()
    assert {*receipt.drawn} == {"up.weight", "up.bias", "square.weight", "square.bias"} | {
        "own.weight",
        "own.bias",
    }
    assert {*receipt.loaded} == {*stored} - {"head.weight"}
    assert receipt.extended == receipt.unexpected == ()


@pytest.mark.parametrize("way", ["apply", "materialize"])
def test_new_rows_have_the_numbers_of_the_whole_draw(way):
    """An embedding, a readout and its bias keep the stored rows; nothing else may grow."""
    plan, whole = fanin.plan(words(), torch.arange(6)), words()
    plan = plan.replace({"3.bias": Normal(0.1)})
    plan.apply(whole, seed=SEED)
    stored = {name: one[:7] for name, one in shifted(whole).items() if name[0] in "03"}
    if way == "apply":
        model = words()
        receipt = plan.apply(model, seed=SEED, missing_from=stored)
    else:
        model = on_meta(words)
        receipt = plan.materialize(model, seed=SEED, missing_from=stored)
    for name, tensor in model.state_dict().items():
        wanted = whole.state_dict()[name].clone()
        if name in stored:
            wanted[:7] = stored[name]
        assert torch.equal(tensor, wanted), name
    assert not model[0].weight[9].any(), "the padding row is a new one"
    assert receipt.extended == ("0.weight", "3.weight", "3.bias")
    assert receipt.drawn == ("1.weight", "1.bias")
    assert "3 extended, 2 filled" in str(receipt)


@settings(max_examples=40)
@given(st.data())
def test_any_part_of_a_checkpoint_is_completed(data):
    """The stored names win, the others are the draw; a second call changes nothing."""
    model = words()
    plan = fanin.plan(model, torch.arange(6))
    plan.apply(model, seed=SEED)
    drawn, stored = copies(model), {}
    for name, tensor in shifted(model).items():
        rows = len(tensor) if name[0] == "1" else data.draw(st.integers(1, len(tensor)))
        if data.draw(st.booleans()):
            stored[name] = tensor[:rows]
    assume(stored)
    wanted = {name: tensor.clone() for name, tensor in drawn.items()}
    for name, tensor in stored.items():
        wanted[name][: len(tensor)] = tensor
    first = plan.apply(model, seed=SEED, missing_from=stored)
    assert equal(model.state_dict(), wanted)
    assert plan.apply(model, seed=SEED, missing_from=stored) == first
    assert plan.materialize(on_meta(words), seed=SEED, missing_from=stored) == first


def test_a_function_of_the_users_draws_the_new_rows_too():
    """It draws the whole, as it always does, and the stored rows stay."""
    by_hand = Custom(lambda tensor, layout: nn.init.normal_(tensor))
    plan, whole = fanin.plan(words(), torch.arange(6)).replace({"3.weight": by_hand}), words()
    plan.apply(whole, seed=SEED)
    model = words()
    plan.apply(model, seed=SEED, missing_from={"3.weight": torch.ones(4, 6)})
    assert (model[3].weight[:4] == 1).all()
    assert torch.equal(model[3].weight[4:], whole[3].weight[4:])


@pytest.mark.parametrize(
    ("name", "shape"),
    [("1.weight", (3, 4)), ("0.weight", (12, 4)), ("0.weight", (7, 3)), ("1.bias", (6, 1))],
    ids=["a hidden layer", "more rows", "other columns", "other axes"],
)
@pytest.mark.parametrize("way", ["apply", "materialize"])
def test_other_shapes_are_an_error_that_names_both(name, shape, way):
    """And the model stays as it was."""
    plan = fanin.plan(words(), torch.arange(6))
    model = words() if way == "apply" else on_meta(words)
    before = copies(model)
    with pytest.raises(FaninError) as error:
        getattr(plan, way)(model, seed=SEED, missing_from={name: torch.zeros(shape)})
    assert name in error.value.where
    ours = tuple(before[name].shape)
    assert error.value.found == f"{shape} there, {ours} in the model"
    if way == "apply":
        assert equal(model.state_dict(), before)
    assert all(one.is_meta == (way != "apply") for one in model.parameters())


def test_a_kept_tensor_of_fewer_rows_is_an_error():
    """There is no draw whose rows could follow."""
    plan = fanin.plan(words(), torch.arange(6)).replace({"0.weight": Keep("a test")})
    with pytest.raises(FaninError, match=r"\(7, 4\) there, \(10, 4\) in the model"):
        plan.apply(words(), seed=SEED, missing_from={"0.weight": torch.zeros(7, 4)})


def test_another_float_dtype_is_cast_and_told():
    """As load_state_dict does; bfloat16 into float32 loses nothing."""
    plan, model = fanin.plan(words(), torch.arange(6)), words()
    stored = {name: one.bfloat16() for name, one in shifted(model).items() if name[0] == "1"}
    receipt = plan.apply(model, seed=SEED, missing_from=stored)
    assert torch.equal(model[1].weight, stored["1.weight"].float())
    assert receipt["1.weight"].cast_from == "bfloat16"
    assert "2 cast from bfloat16" in str(receipt)
    same = plan.materialize(on_meta(words), seed=SEED, dtype=torch.bfloat16, missing_from=stored)
    assert same["1.weight"].cast_from == ""


@pytest.mark.parametrize(
    ("stored", "what"),
    [
        (torch.full((6, 4), 1e5), "do not fit"),
        (torch.ones(6, 4, dtype=torch.int8), "kind of numbers"),
        (torch.ones(6, 4, dtype=torch.complex64), "kind of numbers"),
        (torch.ones(6, 4).to_sparse(), "cannot be read"),
        (torch.ones(6, 4, device="meta"), "cannot be read"),
    ],
    ids=["too large for float16", "quantized", "complex", "sparse", "meta"],
)
def test_numbers_that_would_not_be_the_same_are_refused(stored, what):
    """By name, before anything is written."""
    plan, model = fanin.plan(words(), torch.arange(6)), words().half()
    before = copies(model)
    with pytest.raises(FaninError, match=what) as error:
        plan.apply(model, seed=SEED, missing_from={"1.weight": stored})
    assert "1.weight" in error.value.where
    assert equal(model.state_dict(), before)


def test_a_name_that_the_model_does_not_have_is_an_error_with_the_nearest():
    """A misspelt name would else be drawn in silence."""
    plan, model = fanin.plan(words(), torch.arange(6)), words()
    before = copies(model)
    with pytest.raises(FaninError, match=r"1\.wieght \(nearest: 1\.weight\)"):
        plan.apply(model, seed=SEED, missing_from={"1.wieght": torch.zeros(6, 4)})
    assert equal(model.state_dict(), before)


def test_unexpected_names_are_listed_where_that_is_allowed():
    """For a body whose old head is not wanted."""
    plan, model = fanin.plan(words(), torch.arange(6)), words()
    stored = {"1.bias": torch.ones(6), "old.head": torch.zeros(2)}
    receipt = plan.apply(model, seed=SEED, missing_from=stored, allow_unexpected=True)
    assert receipt.unexpected == ("old.head",)
    assert "1 unexpected name" in str(receipt)
    assert (model[1].bias == 1).all()


@pytest.mark.parametrize(
    ("rename", "way"),
    [
        (lambda name: f"bert.{name}", r"name.removeprefix\('bert.'\)"),
        (lambda name: name.removeprefix("body."), r"'body.' \+ name"),
    ],
)
def test_a_checkpoint_of_which_no_name_fits_says_how_to_rename(rename, way):
    """Also where unexpected names are allowed: nothing would be loaded at all."""
    body = nn.Sequential()
    body.add_module("body", words())
    plan = fanin.plan(body, torch.arange(6))
    stored = {rename(name): tensor for name, tensor in shifted(body).items()}
    with pytest.raises(FaninError, match=way):
        plan.apply(body, seed=SEED, missing_from=stored, allow_unexpected=True)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module."]
)
def test_prefixes_of_wrappers_do_not_matter(prefix):
    """On either side; a module of the user's that is called so keeps its name."""
    plan, model = fanin.plan(words(), torch.arange(6)), words()
    stored = {prefix + name: tensor for name, tensor in shifted(model).items()}
    plan.apply(model, seed=SEED, missing_from=stored)
    assert torch.equal(model[1].weight, stored[f"{prefix}1.weight"])
    wrapped = nn.DataParallel(words())
    bare = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    plan.apply(wrapped, seed=SEED, missing_from=bare)
    assert torch.equal(wrapped.module[1].weight, bare["1.weight"])


def test_names_that_only_look_like_a_wrappers_are_kept_apart():
    """`module` is a module here, beside another of the same inner name."""
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "module_list": nn.Linear(2, 2)})
    model = nn.Sequential(nn.Linear(2, 2), model["module"])
    model._modules["module"] = model._modules.pop("1")
    plan = fanin.plan(model, torch.ones(1, 2))
    stored = {"module.weight": torch.ones(2, 2), "0.weight": torch.zeros(2, 2)}
    plan.apply(model, seed=SEED, missing_from=stored)
    assert (model.module.weight == 1).all()
    assert not model[0].weight.any()


def test_names_of_one_tensor_must_agree():
    """torch would take the last of them."""
    plan, model = planned(), Net()
    stored = {"table.weight": torch.ones(24, 8), "head.weight": torch.ones(24, 8)}
    plan.apply(model, seed=SEED, missing_from=stored)
    assert (model.table.weight == 1).all()
    stored["head.weight"] = torch.zeros(24, 8)
    before = copies(model)
    with pytest.raises(FaninError, match=r"head\.weight"):
        plan.apply(model, seed=SEED, missing_from=stored)
    assert equal(model.state_dict(), before)


def test_a_tie_that_the_move_to_meta_undid_is_loaded_under_either_name():
    """Hugging Face's files have one of the names."""
    model = Net().to("meta")
    receipt = planned().materialize(
        model, seed=SEED, missing_from={"head.weight": torch.ones(24, 8)}
    )
    assert model.head.weight is model.table.weight
    assert (model.table.weight == 1).all()
    assert receipt.loaded == ("table.weight",)


def normed():
    first = parametrizations.weight_norm(nn.Linear(5, 6))
    return nn.Sequential(first, nn.ReLU(), nn.utils.spectral_norm(nn.Linear(6, 3)))


def test_parametrized_tensors_are_loaded_as_they_are_stored():
    """Length and direction, and the buffers of a norm."""
    torch.manual_seed(0)
    plan, other, model = fanin.plan(normed(), torch.ones(2, 5)), normed(), normed()
    stored = copies(other)
    plan.apply(model, seed=SEED, missing_from=stored)
    assert equal(model.state_dict(), stored)
    assert torch.equal(model[0].weight, other[0].weight)
    half = {name: one for name, one in stored.items() if not name.endswith("original1")}
    with pytest.raises(FaninError, match="only a part of a parametrized tensor"):
        plan.apply(model, seed=SEED, missing_from=half)


def test_a_buffer_that_is_in_no_state_dict_is_unexpected():
    """As of load_state_dict: its module computes it."""
    with pytest.raises(FaninError, match=r"turn\.angles"):
        planned().apply(Net(), seed=SEED, missing_from={"turn.angles": torch.zeros(8)})


def test_a_tensor_that_nobody_claims_may_be_loaded():
    """The checkpoint claims it."""
    net = nn.Sequential(nn.Linear(3, 3))
    net.scale = nn.Parameter(torch.full((3,), torch.nan))
    only_weights = fanin.recipes.as_recipe(
        lambda site: None if site.name == "scale" else Normal(0.1)
    )
    plan = fanin.plan(net, torch.ones(2, 3), recipe=only_weights)
    assert [entry.name for entry in plan.unclaimed] == ["scale"]
    plan.apply(net, seed=SEED, missing_from={"scale": torch.ones(3)})
    assert (net.scale == 1).all()


def test_a_draw_that_fails_leaves_the_model_as_it_was():
    """Nothing is copied before."""

    def fails(tensor, layout):
        raise RuntimeError("no")

    plan = fanin.plan(words(), torch.arange(6)).replace({"1.weight": Custom(fails)})
    model, bare = words(), on_meta(words)
    before = copies(model)
    for stored in ({"3.bias": torch.ones(10)}, {"3.bias": torch.ones(4)}):
        with pytest.raises(FaninError, match=r"1\.weight"):
            plan.apply(model, seed=SEED, missing_from=stored)
        with pytest.raises(FaninError, match=r"1\.weight"):
            plan.materialize(bare, seed=SEED, missing_from=stored)
    assert equal(model.state_dict(), before)
    assert all(one.is_meta for one in bare.parameters())


def test_nothing_is_taken_from_torchs_generator_where_nothing_is_drawn():
    """And the receipt has no seed then."""
    plan, model = fanin.plan(words(), torch.arange(6)), words()
    state = torch.get_rng_state()
    receipt = plan.apply(model, missing_from=shifted(model))
    assert torch.equal(state, torch.get_rng_state())
    assert receipt.seed is None
    assert receipt.drawn == ()


def test_apply_on_meta_says_what_gives_memory():
    """There is nothing to load into."""
    plan = fanin.plan(words(), torch.arange(6))
    with pytest.raises(FaninError, match=r"plan\.materialize"):
        plan.apply(on_meta(words), seed=SEED, missing_from={"1.bias": torch.ones(6)})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"\xff" * 8 + b"{}", "a header of"),
        ((2).to_bytes(8, "little") + b"[]", "no JSON object"),
        ((7).to_bytes(8, "little") + b'{"a": }', "no JSON object"),
    ],
    ids=["empty", "a huge header", "a list", "no JSON"],
)
def test_a_damaged_file_is_an_error_that_names_it(content, says, tmp_path):
    """No other exception, and nothing is read beyond the file."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(FaninError, match=says) as error:
        fanin.plan(words(), torch.arange(6)).apply(words(), missing_from=path)
    assert str(path) in error.value.where


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [6], "data_offsets": [0, 23]},
        {"dtype": "F32", "shape": [6], "data_offsets": [8, 32]},
        {"dtype": "F32", "shape": [6], "data_offsets": [-24, 0]},
        {"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]},
        {"dtype": "F3", "shape": [6], "data_offsets": [0, 24]},
        {"dtype": [], "shape": [6], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [6]},
        {"dtype": "F32", "shape": "six", "data_offsets": [0, 24]},
        None,
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(entry, tmp_path):
    """Offsets are looked at before memory is."""
    text = json.dumps({"1.bias": entry}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    with pytest.raises(FaninError, match="cannot be read"):
        fanin.plan(words(), torch.arange(6)).apply(words(), missing_from=path)


@pytest.mark.parametrize("file", ["../m.safetensors", "missing.safetensors", "other.safetensors"])
def test_an_index_names_files_beside_it_that_have_the_tensors(file, tmp_path):
    """As an interrupted download leaves it."""
    write_safetensors(tmp_path / "m.safetensors", {"1.bias": torch.ones(6)})
    folder = tmp_path / "m"
    folder.mkdir()
    write_safetensors(folder / "other.safetensors", {"3.bias": torch.ones(10)})
    index = json.dumps({"weight_map": {"1.bias": file}})
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(FaninError, match=r"1\.bias is in"):
        fanin.plan(words(), torch.arange(6)).apply(words(), missing_from=folder)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


def test_a_file_of_code_is_not_run(tmp_path):
    """Only tensors are read from a pickle."""
    path = saved(tmp_path / "m.pt", {"1.bias": Evil()})
    with pytest.raises(FaninError, match="not run"):
        fanin.plan(words(), torch.arange(6)).apply(words(), missing_from=path)
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(FaninError):
        fanin.plan(words(), torch.arange(6)).apply(words(), missing_from=path)


@pytest.mark.parametrize(
    "given_as", ["nowhere.safetensors", "m.txt", ".", 7, {"1.bias": 7}, {7: torch.ones(1)}]
)
def test_what_is_no_checkpoint_is_refused(given_as, tmp_path, monkeypatch):
    """With what would be one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.txt").write_text("no")
    with pytest.raises(FaninError, match="checkpoint"):
        fanin.plan(words(), torch.arange(6)).apply(words(), missing_from=given_as)


def test_the_models_own_tensors_may_be_given_under_other_names():
    """Two layers that are swapped, and one that is to be drawn."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    plan, before = fanin.plan(model, torch.ones(1, 4)), copies(model)
    state = {"0.weight": model[1].weight, "1.weight": model[2].weight, "1.bias": model[1].bias}
    plan.apply(model, seed=SEED, missing_from=state)
    assert torch.equal(model[0].weight, before["1.weight"])
    assert torch.equal(model[1].weight, before["2.weight"])
    assert torch.equal(model[1].bias, before["1.bias"])


def test_what_is_not_needed_of_a_file_is_not_read(tmp_path):
    """A tensor of 1 GB is in it, and no memory goes to it."""
    size = 1 << 30
    header = {
        "big": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
        "1.bias": {"dtype": "F32", "shape": [6], "data_offsets": [size, size + 24]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(size, 1)
        file.write(torch.ones(6).numpy().tobytes())
    model, plan = words(), fanin.plan(words(), torch.arange(6))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan.apply(model, seed=SEED, missing_from=path, allow_unexpected=True)
    assert (model[1].bias == 1).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_an_empty_checkpoint_is_an_error():
    """It is what a failed save leaves; all would be drawn in silence."""
    model = words()
    plan = fanin.plan(model, torch.arange(6))
    with pytest.raises(FaninError, match="empty"):
        plan.apply(model, seed=SEED, missing_from={})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_stored_parameter_that_is_not_finite_is_refused_by_name(value, dtype):
    """No training starts from it. A buffer may have such numbers: a mask does."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(dtype)
    plan = fanin.plan(model, torch.ones(2, 3, dtype=dtype))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["1.running_mean"][1] = value
    plan.apply(model, seed=SEED, missing_from=state)
    state["0.weight"][1, 2] = value
    plan.apply(model, seed=SEED)
    with pytest.raises(FaninError, match="not finite") as caught:
        plan.apply(model, seed=SEED, missing_from=state)
    assert caught.value.where.startswith("0.weight")
    assert plan.verify(model, seed=SEED).ok


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_damaged_file_of_torch_is_an_error_that_names_it(share, tmp_path):
    """Whatever torch raises for it."""
    model = words()
    whole = saved(tmp_path / "whole.pt", model.state_dict()).read_bytes()
    path = tmp_path / "half.pt"
    path.write_bytes(whole[: int(share * len(whole))])
    plan = fanin.plan(model, torch.arange(6))
    for call in (lambda: plan.apply(model, missing_from=path), lambda: plan.verify(path, seed=0)):
        with pytest.raises(FaninError, match="cannot be read") as caught:
            call()
        assert caught.value.where == str(path)
