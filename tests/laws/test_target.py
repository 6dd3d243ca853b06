"""Models named on the command line: what is found and run, what is refused, what stays."""

import sys
from textwrap import dedent

import pytest
import torch
from torch import nn

from fanin import FaninError
from fanin._target import batch_of, build, call, default_batch, find, importable, parse_inputs

SETTING = "a setting is NAME=VALUE, each name once"
NET = """
    from dataclasses import dataclass
    import torch
    from torch import nn

    import sibling

    WIDTH = 3

    @dataclass
    class Sizes:
        hidden: int = sibling.HIDDEN

    class Net(nn.Sequential):
        def __init__(self, depth=2, width=Sizes().hidden):
            super().__init__(*(nn.Linear(width, width) for _ in range(depth)))

        @classmethod
        def deep(cls):
            return cls(depth=5)

    def build(depth=1):
        return Net(depth)

    def needs(depth):
        return Net(depth)

    def breaks():
        raise RuntimeError("no data set here")

    def leaves():
        raise SystemExit(0)

    def number():
        return 3

    built = nn.Linear(2, 2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with net.py, its sibling and a package, and the modules as they were."""
    (tmp_path / "net.py").write_text(dedent(NET))
    (tmp_path / "sibling.py").write_text("HIDDEN = 4\n")
    (tmp_path / "typo.py").write_text("def build(:\n")
    (tmp_path / "late.py").write_text("import not_there_at_all\n")
    (tmp_path / "random.py").write_text("raise RuntimeError('hid the one of the library')\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "model.py").write_text("from . import layer\n\nbuild = layer.build\n")
    (tmp_path / "parts" / "layer.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Linear(2, 2)\n"
    )
    modules = dict(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def made(spec, *settings, meta=False):
    with importable(spec):
        return build(spec, settings, meta=meta)


def refusal(spec, *settings, meta=False):
    with pytest.raises(FaninError) as caught:
        made(spec, *settings, meta=meta)
    return caught.value


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("net.py:build", 1),
        ("net.py:Net", 2),
        ("net.py:Net.deep", 5),
        ("net:build", 1),
        ("{folder}/net.py:build", 1),
    ],
)
def test_a_function_a_class_and_a_method_make_the_model(folder, spec, layers):
    """As users of neighbouring tools write it, also from another directory."""
    target = made(spec.format(folder=folder))
    assert len(target.model) == layers
    assert target.made_by.endswith("()")


def test_a_built_model_is_taken_as_it_is(folder):
    """No call, so that its weights are those of its module."""
    target = made("net.py:built")
    assert isinstance(target.model, nn.Linear)
    assert target.made_by == "net.py:built"


def test_a_module_of_a_package_may_import_its_neighbours(folder):
    """The current directory is searched, as by `python -m`."""
    assert isinstance(made("parts.model:build").model, nn.Linear)


def test_settings_are_keywords_of_the_function(folder):
    """And are said again, so that the output tells what was made."""
    target = made("net.py:Net", "depth=3", "width=7")
    assert [layer.in_features for layer in target.model] == [7, 7, 7]
    assert target.made_by == "net.py:Net(depth=3, width=7)"


def test_meta_makes_the_model_without_memory(folder):
    """A model that no machine holds can still be planned."""
    target = made("net.py:Net", "width=1000000", meta=True)
    assert {parameter.device.type for parameter in target.model.parameters()} == {"meta"}


def test_a_file_is_read_anew_each_time(folder):
    """A notebook user edits it between two calls."""
    made("net.py:build")
    (folder / "net.py").write_text("from torch import nn\n\ndef build():\n    return nn.ReLU()\n")
    assert isinstance(made("net.py:build").model, nn.ReLU)


def test_a_file_runs_once_inside_and_leaves_no_module_behind(folder):
    """Of several names the objects must be of one run: isinstance fails across two."""
    (folder / "net.py").write_text("class Net:\n    pass\n\nnet = Net()\n")
    with importable("net.py:Net"), importable("net.py:net"):
        kind, made_of_it = (find(f"net.py:{name}", option="X") for name in ("Net", "net"))
        other = find(f"{folder}/net.py:Net", option="X")
    assert type(made_of_it) is kind is other
    assert not any(name.startswith("_fanin_target") for name in sys.modules)
    with importable("net.py:Net"):
        assert find("net.py:Net", option="X") is not kind


def test_the_path_is_as_it_was_also_after_an_error(folder):
    """Nothing that runs later imports from that directory by accident."""
    before = list(sys.path)
    made("net.py:build")
    refusal("net.py:breaks")
    refusal("late.py:build")
    assert sys.path == before


def test_a_file_hides_no_module_of_its_name(folder):
    """random.py beside the model is not the standard library's."""
    import random

    assert refusal("random.py:build").found == "RuntimeError: hid the one of the library"
    assert sys.modules["random"] is random


def test_a_file_that_raised_leaves_no_module(folder):
    """A half-made module would be found by the next import."""
    before = set(sys.modules)
    refusal("late.py:build")
    refusal("typo.py:build")
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("spec", "settings", "what", "rest"),
    [
        ("nett.py:build", (), "there is no such file", "net.py"),
        ("nett:build", (), "there is no such module", "net"),
        ("net.py", (), "TARGET names no object", "net.py:Sizes or net.py:Net or net.py:build"),
        ("net", (), "TARGET names no object", "package.module:name"),
        ("net.py:", (), "TARGET names no object", "net.py:build"),
        ("net.py:biuld", (), "net.py has no 'biuld'", "build"),
        ("net.py:Net.deeep", (), "net.py has no 'deeep'", "deep"),
        ("net.py:needs", (), "net.py:needs needs arguments", "--set depth=..."),
        ("net.py:build", ("dept=2",), "net.py:build takes no argument 'dept'", "depth"),
        ("net.py:build", ("depth",), SETTING, "--set"),
        (
            "net.py:build",
            ("depth=1", "depth=2"),
            SETTING,
            "--set",
        ),
        ("net.py:build", ("depth=1,width=2",), SETTING, "--set depth=10 --set norm=batch"),
        ("net.py:built", ("depth=2",), "net.py:built is a model already", "--set"),
        ("net.py:breaks", (), "net.py:breaks raised an error", "RuntimeError: no data set here"),
        ("net.py:leaves", (), "net.py:leaves raised an error", "SystemExit: 0"),
        ("net.py:number", (), "net.py:number() made no model", "int, not a torch.nn.Module"),
        ("net.py:WIDTH", (), "net.py:WIDTH made no model", "int, not a torch.nn.Module"),
        ("typo.py:build", (), "typo.py raised an error when it was imported", "typo.py, line 1"),
        ("late.py:build", (), "late.py raised an error when it was imported", "not_there_at_all"),
        ("late:build", (), "late raised an error when it was imported", "not_there_at_all"),
        ("parts/model.py:build", (), "a file of a package cannot be run alone", "package.module"),
    ],
)
def test_what_cannot_be_made_is_told_with_the_way_out(folder, spec, settings, what, rest):
    """Four beats; the error of the user's own code is shown with its line."""
    error = refusal(spec, *settings)
    assert error.what == what
    assert rest in str(error)


def test_an_error_of_the_model_names_the_line_that_raised(folder):
    """The last line of the traceback is what a user looks for first."""
    where = refusal("net.py:breaks").where
    line = dedent(NET).splitlines().index('    raise RuntimeError("no data set here")') + 1
    assert where == f"{folder / 'net.py'}, line {line}, in breaks"


def test_an_error_below_the_users_code_names_the_users_line(folder):
    """Not the line of torch that noticed."""
    error = refusal("net.py:build", "depth=none")
    assert error.where.startswith(f"{folder / 'net.py'}, line ")
    assert error.found.startswith("TypeError")


def test_a_built_model_is_not_moved_to_meta(folder):
    """--meta is a promise about memory that it could not keep."""
    assert refusal("net.py:built", meta=True).where == "--meta"


@pytest.mark.parametrize(("spec", "package"), [("hf:gpt2", "transformers"), ("timm:vgg11", "timm")])
def test_a_host_that_is_not_installed_is_named(monkeypatch, spec, package):
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    error = refusal(spec)
    assert error.what == f"{package} is not installed"
    assert f"pip install {package}" in error.fix


@pytest.mark.parametrize("told", [True, False], ids=["itself", "as the cause"])
def test_a_torchvision_of_another_torch_is_told_to_be_one(folder, told):
    """Its own words are about an operator; transformers hides even these."""
    text = "operator torchvision::nms does not exist"
    lines = [f'raise RuntimeError("{text}")']
    if not told:
        lines = ["try:", f"    {lines[0]}", "except RuntimeError as error:"]
        lines.append("    raise ModuleNotFoundError('Could not import module') from error")
    (folder / "seeing.py").write_text("\n".join(lines))
    error = refusal("seeing.py:build")
    assert error.what == "torchvision on this machine does not import beside this torch"
    assert error.found == f"{text}, with torch {torch.__version__}"
    assert "pip install torchvision --index-url" in error.fix


class Reader(nn.Module):
    """A model that declares an input."""

    def __init__(self, example):
        super().__init__()
        self.example_input_array = example


def batch(*texts, model=None):
    return batch_of(parse_inputs(texts), model or nn.Identity())


def test_one_input_is_a_tensor_and_several_are_positional():
    """The batch is what a model is called with."""
    assert batch("64x784").shape == (64, 784)
    first, second = batch("2x3", "int:2x5")
    assert (first.shape, second.shape) == ((2, 3), (2, 5))


def test_named_inputs_are_keywords_with_their_dtypes():
    """Token numbers that any embedding has, masks that hide nothing."""
    named = batch("ids=int:2x4", "mask=bool:2x4", "x=float64:3")
    assert list(named) == ["ids", "mask", "x"]
    assert named["ids"].unique().tolist() == [0, 1]
    assert named["mask"].all()
    assert [one.dtype for one in named.values()] == [torch.int64, torch.bool, torch.float64]


def test_floats_are_in_the_dtype_of_the_model():
    """A model in bfloat16 does not run on float32."""
    model = nn.Linear(4, 2).to(torch.bfloat16)
    assert model(batch("3x4", model=model)).dtype == torch.bfloat16


def test_inputs_are_the_same_each_time_and_differ_by_name():
    """No global generator is read, so two plans are of one run."""
    state = torch.random.get_rng_state()
    first, again = (batch("a=4x4", "b=4x4") for _ in range(2))
    assert torch.equal(first["a"], again["a"])
    assert not torch.equal(first["a"], first["b"])
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (["64*784"], "this is no shape"),
        (["0x3"], "this is no shape"),
        (["-1x3"], "this is no shape"),
        ([""], "this is no shape"),
        (["x="], "this is no shape"),
        (["long:2x3"], "there is no such dtype"),
        (["a=2x3", "4x5"], "give every input a name of its own, or none a name"),
        (["a=2x3", "a=4x5"], "give every input a name of its own, or none a name"),
    ],
)
def test_an_input_that_cannot_be_read_is_an_error(texts, what):
    """With an example of how it is written."""
    with pytest.raises(FaninError) as caught:
        parse_inputs(texts)
    assert caught.value.what == what
    assert "--input" in caught.value.where


def test_a_declared_input_is_used_as_it_is():
    """Lightning's name for it; the output says where it is from."""
    example = {"x": torch.zeros(2, 3)}
    batch, said = default_batch(Reader(example))
    assert batch is example
    assert "example_input_array" in said


def test_a_model_that_declares_no_input_is_asked_about():
    """Never guessed: a plan of the wrong run would look like a plan."""
    with pytest.raises(FaninError, match="does not say what it runs on") as caught:
        default_batch(nn.Linear(3, 4))
    assert "--input" in caught.value.fix


def test_a_batch_is_found_and_called_as_a_model_is(folder):
    """One spelling for all that a user's code gives."""
    (folder / "data.py").write_text("import torch\n\ndef batch():\n    return torch.ones(2, 4)\n")
    with importable("data.py:batch"):
        function = find("data.py:batch", option="--batch")
        found = call(function, {}, spec="data.py:batch", option="--batch")
    assert found.shape == (2, 4)
