"""``hf:NAME`` and ``timm:NAME`` on the command line, with transformers and timm."""

import json

import pytest
import torch
from tests.hosts.pages import needs

from fanin import FaninError
from fanin._cli import main
from fanin._observe import run
from fanin._target import build, default_batch

needs("transformers", "timm")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages

TINY = ("n_layer=2", "n_embd=32", "n_head=2", "vocab_size=64", "n_positions=16")


def settings(*texts):
    return [word for text in texts for word in ("--set", text)]


@pytest.mark.parametrize(
    ("spec", "values", "made"),
    [
        ("hf:gpt2", TINY, "GPT2LMHeadModel"),
        ("hf:GPT2Model", TINY, "GPT2Model"),
        ("hf:bert", ("num_hidden_layers=1", "hidden_size=24"), "BertForPreTraining"),
        (
            "hf:t5",
            ("num_layers=1", "d_model=16", "d_ff=16", "d_kv=4"),
            "T5ForConditionalGeneration",
        ),
        ("hf:vit", ("num_hidden_layers=1", "image_size=32"), "ViTForImageClassification"),
        (
            "hf:clip",
            ("text_config.num_hidden_layers=1", "vision_config.num_hidden_layers=1"),
            "CLIPModel",
        ),
        ("hf:whisper", ("encoder_layers=1", "decoder_layers=1"), "WhisperForConditionalGeneration"),
    ],
)
def test_a_model_type_or_a_class_makes_a_model_that_runs_on_its_own_input(spec, values, made):
    """From its default configuration, changed by the settings; text, images, sound."""
    target = build(spec, values, meta=True)
    assert type(target.model).__name__ == made
    batch, _ = default_batch(target.model)
    with torch.no_grad():
        run(target.model.eval(), {name: one.to("meta") for name, one in batch.items()})


def test_settings_are_of_the_configuration():
    """What follows from them follows: as many heads for keys as for queries."""
    target = build("hf:llama", ["num_attention_heads=4", "hidden_size=64"], meta=True)
    assert target.model.config.num_key_value_heads == 4


def test_token_numbers_are_within_the_vocabulary():
    """transformers' dummy numbers go up to 7."""
    model = build("hf:gpt2", [*TINY[:3], "vocab_size=4"]).model
    batch, _ = default_batch(model)
    assert batch["input_ids"].max() < 4


def test_a_configuration_in_a_file_makes_its_architecture(tmp_path):
    """Also named by its directory, and changed by the settings."""
    build("hf:gpt2", TINY).model.config.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    stored["architectures"] = ["GPT2ForTokenClassification"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    for spec in (f"hf:{tmp_path}", f"hf:{tmp_path / 'config.json'}"):
        model = build(spec, ["n_layer=1"]).model
        assert type(model).__name__ == "GPT2ForTokenClassification"
        assert (model.config.n_layer, model.config.n_embd) == (1, 32)


@pytest.mark.parametrize(
    ("spec", "values", "what", "rest"),
    [
        ("hf:gpt3", (), "transformers has no such model type", "gpt2"),
        ("hf:me/model", (), "there is no such file, and nothing is downloaded", "config.json"),
        ("hf:gpt2", ("n_layers=2",), "GPT2Config has no 'n_layers'", "n_layer"),
        ("hf:clip", ("text_config.layers=2",), "CLIPTextConfig has no 'layers'", "text_config"),
        ("hf:gpt2", ("n_head=7",), "transformers could not make gpt2", "ValueError"),
        ("hf:mixtral", (), "this model is too large to be made here", "--meta"),
        ("timm:resnet19", (), "timm has no such architecture", "resnet18"),
        ("timm:resnet18", ("wdith=2",), "timm could not make resnet18", "wdith"),
    ],
)
def test_what_cannot_be_made_is_told_with_the_way_out(spec, values, what, rest):
    """Four beats, before any memory is taken."""
    with pytest.raises(FaninError) as caught:
        build(spec, values)
    assert caught.value.what == what
    assert rest in str(caught.value)


def test_a_configuration_with_code_of_its_own_is_refused(tmp_path):
    """That code would be run from wherever it comes."""
    config = {"model_type": "gpt2", "auto_map": {"AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FaninError, match="needs code"):
        build(f"hf:{tmp_path}")


def test_timm_models_run_on_the_size_that_they_declare():
    """Settings are arguments of create_model."""
    target = build("timm:resnet18", ["num_classes=7"])
    batch, _ = default_batch(target.model)
    with torch.no_grad():
        assert target.model.eval()(batch).shape == (2, 7)


@pytest.mark.parametrize(
    ("words", "made", "run_on"),
    [
        (["hf:gpt2", *settings(*TINY)], "GPT2LMHeadModel of transformers", "its config"),
        (["timm:resnet18", "--meta"], "timm.create_model('resnet18')", "its default_cfg"),
    ],
)
def test_the_command_plans_them(words, made, run_on, capsys):
    """It says what it made and what that ran on."""
    assert main(["plan", *words, "--recipe", "torch_default"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"made by {made}, run on ")
    assert run_on in first


def test_a_model_of_any_size_is_planned_without_memory(capsys):
    """Seventy billion parameters, on this machine."""
    sizes = ("hidden_size=8192", "intermediate_size=28672", "num_hidden_layers=80")
    heads = ("num_attention_heads=64", "num_key_value_heads=8")
    words = ["plan", "hf:llama", "--meta", *settings(*sizes, *heads), "--recipe", "torch_default"]
    assert main(words) == 0
    assert "0 unclaimed" in capsys.readouterr().out
