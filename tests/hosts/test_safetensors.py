"""Files of the package safetensors and of transformers, as fanin reads them."""

import pytest
import torch
from tests.hosts.pages import needs

import fanin
from fanin._plan._stored._read import _DTYPES, stored_tensors

needs("safetensors", "transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages

import safetensors.torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402


@pytest.mark.parametrize("dtype", _DTYPES.values(), ids=str)
def test_every_dtype_that_the_package_writes_is_read(dtype, tmp_path):
    """Bit for bit."""
    bits = torch.arange(24, dtype=torch.uint8)
    bits = bits % 2 if dtype == torch.bool else bits
    tensors = {
        "a": bits[:16].clone().view(dtype),
        "b": torch.zeros(3, dtype=torch.uint8),
        "c": bits,
    }
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    found = stored_tensors(tmp_path / "m.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))


def llama(words):
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=words,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def test_a_model_of_transformers_is_loaded_and_gets_new_words(tmp_path):
    """From the files that `save_pretrained` writes, tied and in several files."""
    small, large, whole = llama(64), llama(72), llama(72)
    small.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    plan = fanin.plan(large, large.dummy_inputs)
    receipt = plan.apply(large, seed=0, missing_from=tmp_path)
    plan.apply(whole, seed=0)
    table = "model.embed_tokens.weight"
    assert receipt.extended == (table,)
    assert receipt.drawn == ()
    stored = small.state_dict()
    for name, tensor in large.state_dict().items():
        rows = len(stored[name])
        assert torch.equal(tensor[:rows], stored[name])
        assert torch.equal(tensor[rows:], whole.state_dict()[name][rows:])


def test_a_model_of_transformers_is_verified_in_its_files(tmp_path):
    """As `save_pretrained` wrote it, before and after a change."""
    model = llama(64)
    plan = fanin.plan(model, model.dummy_inputs)
    plan.apply(model, seed=0)
    model.save_pretrained(tmp_path / "start", max_shard_size="20KB")
    found = plan.verify(tmp_path / "start", seed=0)
    assert found.ok, str(found)
    with torch.no_grad():
        model.lm_head.weight[3, 4] += 1
    model.save_pretrained(tmp_path / "later")
    assert len(plan.verify(tmp_path / "later", seed=0).different) == 1
