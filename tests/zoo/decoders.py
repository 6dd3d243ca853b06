"""Decoder-only language models of transformers."""

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, Batch, floats, tokens

__all__ = ["ARCHITECTURES"]

_LLAMA_SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "use_cache": False,
}
_GPT_SIZES = {
    "vocab_size": 64,
    "n_positions": 32,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": False,
}
_ROPE = "frequencies of rotary embeddings"


def _batch() -> Batch:
    return {"input_ids": tokens(2, 7)}


ARCHITECTURES = (
    Architecture(
        name="GPT-2",
        package="transformers",
        # Conv1D: (in, out) weights. Tied; position embeddings are added to token embeddings.
        factory=from_transformers("GPT2LMHeadModel", "GPT2Config", **_GPT_SIZES),
        batch=_batch,
        writers=("transformer.h.{i}.{attn,mlp}.c_proj.weight",),
        readouts=("transformer.wte.weight",),
        embeddings=("transformer.{wte,wpe}.weight",),
        tied=(("transformer.wte.weight", "lm_head.weight"),),
    ),
    Architecture(
        name="GPT-2 with cross-attention",
        package="transformers",
        # eager attention: matmul and softmax instead of one fused operation. A third branch.
        factory=from_transformers(
            "GPT2LMHeadModel",
            "GPT2Config",
            **_GPT_SIZES,
            add_cross_attention=True,
            attn_implementation="eager",
        ),
        batch=lambda: {**_batch(), "encoder_hidden_states": floats(2, 5, 16)},
        writers=("transformer.h.{i}.{attn,crossattention,mlp}.c_proj.weight",),
        readouts=("transformer.wte.weight",),
        embeddings=("transformer.{wte,wpe}.weight",),
        tied=(("transformer.wte.weight", "lm_head.weight"),),
    ),
    Architecture(
        name="GPT-NeoX",
        package="transformers",
        # Attention and feed-forward in parallel: x + attention(norm(x)) + mlp(norm'(x)).
        factory=from_transformers(
            "GPTNeoXForCausalLM",
            "GPTNeoXConfig",
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            use_cache=False,
        ),
        batch=_batch,
        writers=(
            "gpt_neox.layers.{i}.attention.dense.weight",
            "gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight",
        ),
        readouts=("lm_head.weight",),
        embeddings=("gpt_neox.embed_in.weight",),
        special={"gpt_neox.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="GPT-J",
        package="transformers",
        # Parallel, both branches behind one norm; the three terms are added attention first.
        factory=from_transformers("GPTJForCausalLM", "GPTJConfig", **_GPT_SIZES, rotary_dim=2),
        batch=_batch,
        writers=("transformer.h.{i}.attn.out_proj.weight", "transformer.h.{i}.mlp.fc_out.weight"),
        readouts=("lm_head.weight",),
        embeddings=("transformer.wte.weight",),
        special={"transformer.h.{i}.attn.embed_positions": _ROPE},
    ),
    Architecture(
        name="Llama",
        package="transformers",
        factory=from_transformers("LlamaForCausalLM", "LlamaConfig", **_LLAMA_SIZES),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.down_proj.weight",
        ),
        gates=("model.layers.{i}.mlp.gate_proj.weight",),
        gate_values=("model.layers.{i}.mlp.up_proj.weight",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={"model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="Mistral",
        package="transformers",
        # A sliding window masks the scores: masks are no residual.
        factory=from_transformers(
            "MistralForCausalLM", "MistralConfig", **_LLAMA_SIZES, sliding_window=4
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.down_proj.weight",
        ),
        gates=("model.layers.{i}.mlp.gate_proj.weight",),
        gate_values=("model.layers.{i}.mlp.up_proj.weight",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={"model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="Mixtral",
        package="transformers",
        # Experts are (experts, out, in); their outputs are multiplied by routing weights and
        # gathered with index_add, then added to the stream. gate_up_proj packs gate and value.
        factory=from_transformers(
            "MixtralForCausalLM",
            "MixtralConfig",
            **_LLAMA_SIZES,
            num_local_experts=3,
            num_experts_per_tok=2,
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.experts.down_proj",
        ),
        gated=("model.layers.{i}.mlp.experts.gate_up_proj",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={"model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="Qwen2",
        package="transformers",
        # Biases on q, k, v only; tied.
        factory=from_transformers(
            "Qwen2ForCausalLM", "Qwen2Config", **_LLAMA_SIZES, tie_word_embeddings=True
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.down_proj.weight",
        ),
        gates=("model.layers.{i}.mlp.gate_proj.weight",),
        gate_values=("model.layers.{i}.mlp.up_proj.weight",),
        readouts=("model.embed_tokens.weight",),
        embeddings=("model.embed_tokens.weight",),
        tied=(("model.embed_tokens.weight", "lm_head.weight"),),
        special={"model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="Qwen3-MoE",
        package="transformers",
        # The first layer is dense, the second a mixture; queries and keys are normalized.
        factory=from_transformers(
            "Qwen3MoeForCausalLM",
            "Qwen3MoeConfig",
            **_LLAMA_SIZES,
            head_dim=4,
            moe_intermediate_size=8,
            num_experts=4,
            num_experts_per_tok=2,
            mlp_only_layers=[0],
            decoder_sparse_step=1,
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.0.mlp.down_proj.weight",
            "model.layers.1.mlp.experts.down_proj",
        ),
        gates=("model.layers.0.mlp.gate_proj.weight",),
        gate_values=("model.layers.0.mlp.up_proj.weight",),
        gated=("model.layers.1.mlp.experts.gate_up_proj",),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={"model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="Gemma 2",
        package="transformers",
        # Sandwich norm: x + norm(branch(norm(x))); the writers' own scale has no effect.
        # RMSNorm multiplies by 1 + weight, so its weight starts at zero and means one.
        factory=from_transformers(
            "Gemma2ForCausalLM", "Gemma2Config", **_LLAMA_SIZES, head_dim=4, sliding_window=4
        ),
        batch=_batch,
        writers=(
            "model.layers.{i}.self_attn.o_proj.weight",
            "model.layers.{i}.mlp.down_proj.weight",
        ),
        gates=("model.layers.{i}.mlp.gate_proj.weight",),
        gate_values=("model.layers.{i}.mlp.up_proj.weight",),
        readouts=("model.embed_tokens.weight",),
        embeddings=("model.embed_tokens.weight",),
        tied=(("model.embed_tokens.weight", "lm_head.weight"),),
        padding_rows={"model.embed_tokens.weight": 0},
        special={
            "model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE,
            "model.embed_tokens.embed_scale": "a buffer: the square root of the width",
            "model.layers.{i}.input_layernorm.weight": "a norm scale kept as its offset from one",
            "model.layers.{i}.{post_attention,pre_feedforward,post_feedforward}_layernorm.weight": (
                "a norm scale kept as its offset from one"
            ),
            "model.norm.weight": "a norm scale kept as its offset from one",
        },
    ),
    Architecture(
        name="Phi",
        package="transformers",
        # Parallel, both branches behind one norm.
        factory=from_transformers("PhiForCausalLM", "PhiConfig", **_LLAMA_SIZES),
        batch=_batch,
        writers=("model.layers.{i}.self_attn.dense.weight", "model.layers.{i}.mlp.fc2.weight"),
        readouts=("lm_head.weight",),
        embeddings=("model.embed_tokens.weight",),
        special={"model.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
    Architecture(
        name="OPT",
        package="transformers",
        # Embeddings are narrower than the stream: projected in and out. The stream is reshaped to
        # two axes inside each layer. The tied table is read out after project_out.
        factory=from_transformers(
            "OPTForCausalLM",
            "OPTConfig",
            vocab_size=64,
            hidden_size=16,
            word_embed_proj_dim=8,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=32,
            use_cache=False,
        ),
        batch=_batch,
        writers=(
            "model.decoder.layers.{i}.self_attn.out_proj.weight",
            "model.decoder.layers.{i}.fc2.weight",
        ),
        readouts=("model.decoder.embed_tokens.weight",),
        embeddings=("model.decoder.{embed_tokens,embed_positions}.weight",),
        tied=(("model.decoder.embed_tokens.weight", "lm_head.weight"),),
        padding_rows={"model.decoder.embed_tokens.weight": 1},
    ),
    Architecture(
        name="BLOOM",
        package="transformers",
        # baddbmm with a bias of slopes; the residual is added inside attention and mlp modules.
        factory=from_transformers(
            "BloomForCausalLM",
            "BloomConfig",
            vocab_size=64,
            hidden_size=16,
            n_layer=2,
            n_head=4,
            use_cache=False,
        ),
        batch=_batch,
        writers=(
            "transformer.h.{i}.self_attention.dense.weight",
            "transformer.h.{i}.mlp.dense_4h_to_h.weight",
        ),
        readouts=("transformer.word_embeddings.weight",),
        embeddings=("transformer.word_embeddings.weight",),
        tied=(("transformer.word_embeddings.weight", "lm_head.weight"),),
    ),
    Architecture(
        name="Falcon",
        package="transformers",
        # Parallel with one norm; the two branches are added in place before the stream is.
        # Keys and values have one head: query_key_value packs unequal blocks.
        factory=from_transformers(
            "FalconForCausalLM",
            "FalconConfig",
            vocab_size=64,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            use_cache=False,
        ),
        batch=_batch,
        writers=(
            "transformer.h.{i}.self_attention.dense.weight",
            "transformer.h.{i}.mlp.dense_4h_to_h.weight",
        ),
        readouts=("transformer.word_embeddings.weight",),
        embeddings=("transformer.word_embeddings.weight",),
        tied=(("transformer.word_embeddings.weight", "lm_head.weight"),),
        special={"transformer.rotary_emb.{inv_freq,original_inv_freq}": _ROPE},
    ),
)
