"""Adapters of peft over a model of transformers."""

from tests.zoo.packages import from_transformers, load
from tests.zoo.record import Architecture, tokens
from torch import nn

__all__ = ["ARCHITECTURES"]

_PATH = "base_model.model.transformer.h.{i}"


def _lora() -> nn.Module:
    base = from_transformers(
        "GPT2LMHeadModel",
        "GPT2Config",
        vocab_size=64,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=4,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=False,
    )()
    peft = load("peft")
    config = peft.LoraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    return peft.get_peft_model(base, config)


ARCHITECTURES = (
    Architecture(
        name="LoRA over GPT-2",
        package="peft",
        # W x + B A x: where W writes, B writes too. Only A and B are trained; B starts at zero.
        factory=_lora,
        batch=lambda: {"input_ids": tokens(2, 7)},
        writers=(
            f"{_PATH}.{{attn,mlp}}.c_proj.base_layer.weight",
            f"{_PATH}.{{attn,mlp}}.c_proj.lora_B.default.weight",
        ),
        readouts=("base_model.model.transformer.wte.weight",),
        embeddings=("base_model.model.transformer.{wte,wpe}.weight",),
        tied=(("base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight"),),
        special={
            "base_model.model.transformer.{wte,wpe}.weight": "frozen: not trained by LoRA",
            f"{_PATH}.attn.c_attn.base_layer.weight": "frozen: not trained by LoRA",
            f"{_PATH}.{{attn,mlp}}.c_proj.base_layer.weight": "frozen: not trained by LoRA",
            f"{_PATH}.mlp.c_fc.weight": "frozen: not trained by LoRA",
            f"{_PATH}.attn.c_attn.lora_B.default.weight": "LoRA B: zeros",
            f"{_PATH}.{{attn,mlp}}.c_proj.lora_B.default.weight": "LoRA B: zeros",
        },
    ),
)
