"""The files, read by safetensors and transformers themselves, and beside those that they write."""

import pytest
import torch
from tests.checkpoint.samples import BATCH, contents, mlp, on_meta
from tests.hosts.pages import needs
from tests.zoo.packages import load
from torch import nn

import fanin
from fanin._checkpoint._format import header_of, ordered
from fanin._checkpoint._items import Item
from fanin._checkpoint._sources import Kept
from fanin._cli import main

needs("safetensors", "transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages

write = fanin.write_checkpoint
DTYPES = [
    *("float32", "float64", "float16", "bfloat16", "complex64", "bool", "uint8", "int8", "int16"),
    *("int32", "int64", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"),
]
NAMES = ["b", "a", "layer.10.weight", "layer.9.weight", 'quote"d', "ümlaut", "línea\u2028", "\x01"]


def test_the_header_is_that_of_safetensors():
    """Order, offsets, escapes and spaces, for every dtype and odd names."""
    save = load("safetensors.torch").save
    tensors = {name: torch.zeros(2, 3, dtype=getattr(torch, name)) for name in DTYPES}
    tensors |= {name: torch.zeros(()) for name in NAMES} | {"none": torch.zeros(0, 4)}
    items = ordered(
        Item(name, (), tuple(one.shape), one.dtype, Kept(one)) for name, one in tensors.items()
    )
    header = header_of(items)
    assert save(tensors, metadata={"format": "pt"})[: len(header)] == header


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_bytes_are_those_of_save_file(dtype, tmp_path):
    """Of the tensors that apply gives a model of that dtype."""
    model = mlp()
    plan = fanin.plan(model, BATCH)
    write(plan, on_meta(mlp), tmp_path / "ours", seed=4, dtype=dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    plan.apply(model, seed=4)
    save = load("safetensors.torch").save_file
    save(dict(model.state_dict()), tmp_path / "theirs", metadata={"format": "pt"})
    found = (tmp_path / "ours" / "model.safetensors").read_bytes()
    assert found == (tmp_path / "theirs").read_bytes()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(30, 20), nn.Linear(20, 30, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.table(tokens))


def test_load_model_reads_a_tied_model_of_torch(tmp_path):
    """One name of two is in the file; safetensors knows that this is right."""
    model = Tied()
    plan = fanin.plan(model, torch.arange(6))
    write(plan, on_meta(Tied), tmp_path, seed=0)
    missing = load("safetensors.torch").load_model(model, tmp_path / "model.safetensors")
    assert missing == (set(), [])
    other = Tied()
    plan.apply(other, seed=0)
    assert torch.equal(model.head.weight, other.table.weight)


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99}
HEADS = {**SMALL, "num_attention_heads": 4}
MODELS = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**HEADS, "tie_word_embeddings": False}),
    "llama, tied": ("LlamaForCausalLM", "LlamaConfig", {**HEADS, "tie_word_embeddings": True}),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 99, "n_positions": 20}
        | {"bos_token_id": 0, "eos_token_id": 0},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", {**HEADS, "max_position_embeddings": 40}),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2, "d_kv": 16, "vocab_size": 99},
    ),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        {**HEADS, "num_key_value_heads": 2, "num_local_experts": 3},
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    ),
}


def made(name):
    """A class of transformers, a configuration, and a batch."""
    transformers = load("transformers")
    model, config, settings = MODELS[name]
    kind, made_config = getattr(transformers, model), getattr(transformers, config)(**settings)
    with torch.device("meta"):
        built = kind(made_config)
    batch = {key: one for key, one in built.dummy_inputs.items() if "mask" not in key}
    if name == "resnet":
        batch = {"pixel_values": torch.randn(2, 3, 64, 64)}
    return kind, made_config, built, batch


@pytest.mark.parametrize("name", MODELS)
def test_from_pretrained_gives_a_directly_initialized_model(name, tmp_path):
    """Nothing missing, nothing unexpected, every tensor equal, buffers and ties too."""
    kind, config, model, batch = made(name)
    direct = kind(config)
    plan = fanin.plan(direct, batch)
    write(plan, model, tmp_path, seed=1, shard_size="30KB")
    loaded, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    plan.apply(direct, seed=1)
    wanted, found = direct.state_dict(), loaded.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], one) for key, one in wanted.items())
    ties = (loaded, direct)
    first, second = (
        {key: one.data_ptr() for key, one in model.state_dict(keep_vars=True).items()}
        for model in ties
    )
    assert shared(first) == shared(second)


def shared(places):
    """The names that have one place in memory, together."""
    return {
        frozenset(other for other in places if places[other] == place) for place in places.values()
    }


@pytest.mark.parametrize("name", [name for name in MODELS if name != "resnet"])
@pytest.mark.parametrize("size", ["30KB", "4GB"])
def test_the_files_are_those_that_save_pretrained_writes(name, size, tmp_path):
    """The same names in the same files, byte for byte, and the same index and config.json."""
    kind, config, model, batch = made(name)
    plan = fanin.plan(model, batch)
    write(plan, model, tmp_path / "ours", seed=1, dtype=torch.bfloat16, shard_size=size)
    direct = kind(config).bfloat16()
    plan.apply(direct, seed=1)
    direct.save_pretrained(tmp_path / "theirs", max_shard_size=size, save_original_format=False)
    ours, theirs = contents(tmp_path / "ours"), contents(tmp_path / "theirs")
    theirs.pop("generation_config.json", None)
    assert ours == theirs
    assert ("model.safetensors.index.json" in ours) == (size == "30KB")


def test_the_model_and_its_configuration_stay_as_they_are(tmp_path):
    """transformers' own save_pretrained writes the dtype into the configuration."""
    _, config, model, batch = made("llama")
    before = config.to_dict()
    write(fanin.plan(model, batch), model, tmp_path, seed=0, dtype=torch.bfloat16)
    assert model.config.to_dict() == before


def test_the_command_writes_a_configuration_of_transformers(tmp_path, capsys):
    """From the name of a class to a directory that from_pretrained reads."""
    settings = [f"--set={name}={value}" for name, value in HEADS.items()]
    out = tmp_path / "out"
    words = ["checkpoint", "hf:LlamaForCausalLM", *settings, "--dtype", "bf16", "--out", str(out)]
    assert main(words) == 0
    assert "made by LlamaForCausalLM of transformers" in capsys.readouterr().out
    kind = load("transformers").LlamaForCausalLM
    loaded, info = kind.from_pretrained(out, output_loading_info=True, dtype="auto")
    assert not any(info.values())
    assert loaded.dtype == torch.bfloat16
    assert loaded.config.hidden_size == SMALL["hidden_size"]


def test_the_command_writes_a_masked_language_model_and_verifies_it(tmp_path, capsys):
    """A bias of its head has two names, and no values on the meta device."""
    settings = [f"--set={name}={value}" for name, value in HEADS.items()]
    out = str(tmp_path / "out")
    assert main(["checkpoint", "hf:BertForMaskedLM", *settings, "--out", out]) == 0
    assert main(["verify", "hf:BertForMaskedLM", *settings, out]) == 0
    assert "in memory" not in capsys.readouterr().out
