"""Newer language models of transformers: shared experts, latent and linear attention."""

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, Batch, tokens

__all__ = ["ARCHITECTURES"]

_SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "use_cache": False,
}
_ROPE = {"model.rotary_emb.{inv_freq,original_inv_freq}": "frequencies of rotary embeddings"}
_OFFSET = "a norm scale kept as its offset from one"


def _batch() -> Batch:
    return {"input_ids": tokens(2, 7)}


ARCHITECTURES = (
    Architecture(
        name="DeepSeek-V3",
        package="transformers",
        # Routed and shared experts read the same input and are added: not a residual, but both
        # are then added to the stream, so both write. Latent attention: queries, keys and values
        # through two weights with a norm between, keys written into an empty tensor.
        factory=from_transformers(
            "DeepseekV3ForCausalLM",
            "DeepseekV3Config",
            **_SIZES,
            num_key_value_heads=4,
            moe_intermediate_size=8,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            first_k_dense_replace=1,
            q_lora_rank=8,
            kv_lora_rank=8,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=4,
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.0.mlp.down_proj.weight",
            "model.layers.1.mlp.experts.down_proj",
            "model.layers.1.mlp.shared_experts.down_proj.weight",
        ),
        gates=(
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.1.mlp.shared_experts.gate_proj.weight",
        ),
        gate_values=(
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.1.mlp.shared_experts.up_proj.weight",
        ),
        gated=("model.layers.1.mlp.experts.gate_up_proj",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special=_ROPE,
    ),
    Architecture(
        name="GPT-OSS",
        package="transformers",
        # Experts are (experts, in, out); gate and value alternate, row by row; both are clamped.
        # Sinks are concatenated with the scores.
        factory=from_transformers(
            "GptOssForCausalLM",
            "GptOssConfig",
            **_SIZES,
            num_key_value_heads=2,
            head_dim=4,
            num_local_experts=3,
            num_experts_per_tok=2,
            sliding_window=4,
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.experts.down_proj",
        ),
        gated=("model.layers.{i}.mlp.experts.gate_up_proj",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={**_ROPE, "model.layers.{i}.self_attn.sinks": "one logit a head"},
    ),
    Architecture(
        name="Qwen3-Next",
        package="transformers",
        # A layer of linear attention, then one of gated attention. The shared expert is
        # multiplied by a sigmoid of one number before the sum: it writes.
        factory=from_transformers(
            "Qwen3NextForCausalLM",
            "Qwen3NextConfig",
            **_SIZES,
            num_key_value_heads=2,
            head_dim=4,
            layer_types=["linear_attention", "full_attention"],
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=4,
            linear_value_head_dim=4,
            moe_intermediate_size=8,
            shared_expert_intermediate_size=8,
            num_experts=4,
            num_experts_per_tok=2,
        ),
        batch=_batch,
        writers=(
            "model.layers.0.linear_attn.out_proj.weight",
            "model.layers.1.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.experts.down_proj",
            "model.layers.{i}.mlp.shared_expert.down_proj.weight",
        ),
        gates=("model.layers.{i}.mlp.shared_expert.gate_proj.weight",),
        gate_values=("model.layers.{i}.mlp.shared_expert.up_proj.weight",),
        gated=("model.layers.{i}.mlp.experts.gate_up_proj",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={
            **_ROPE,
            "model.layers.0.linear_attn.{A_log,dt_bias}": "decay and time step",
            "model.layers.{i}.{input_layernorm,post_attention_layernorm}.weight": _OFFSET,
            "model.layers.1.self_attn.{q_norm,k_norm}.weight": _OFFSET,
            "model.norm.weight": _OFFSET,
        },
        undecided={
            "model.layers.0.linear_attn.in_proj_{qkvz,ba}.weight": "parts of them are gates",
            "model.layers.1.self_attn.q_proj.weight": "packs queries with a gate of the output",
            "model.layers.{i}.mlp.shared_expert_gate.weight": "a factor of one number",
        },
    ),
    Architecture(
        name="Switch Transformers",
        package="transformers",
        # T5 with top-1 experts, each a module of its own. The decoder gets one token, so one of
        # its experts does not run, and is described like the other: its wo writes too.
        factory=from_transformers(
            "SwitchTransformersForConditionalGeneration",
            "SwitchTransformersConfig",
            vocab_size=64,
            d_model=16,
            d_kv=4,
            d_ff=32,
            num_layers=2,
            num_decoder_layers=2,
            num_sparse_encoder_layers=1,
            num_sparse_decoder_layers=1,
            num_heads=4,
            num_experts=2,
            expert_capacity=16,
            use_cache=False,
        ),
        batch=lambda: {"input_ids": tokens(1, 7), "decoder_input_ids": tokens(1, 1, seed=1)},
        writers=(
            "{encoder,decoder}.block.{i}.layer.0.SelfAttention.o.weight",
            "decoder.block.{i}.layer.1.EncDecAttention.o.weight",
            "{encoder,decoder}.block.0.layer.{i}.mlp.wo.weight",
            "{encoder,decoder}.block.1.layer.{i}.mlp.experts.expert_{i}.wo.weight",
        ),
        readouts=("shared.weight",),
        embeddings=(
            "shared.weight",
            "{encoder,decoder}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        tied=(
            ("shared.weight", "encoder.embed_tokens.weight"),
            ("shared.weight", "decoder.embed_tokens.weight"),
            ("shared.weight", "lm_head.weight"),
        ),
        never_ran=("decoder.block.1.layer.2.mlp.experts.expert_0.{wi,wo}.weight",),
    ),
)
