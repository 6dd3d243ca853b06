"""Decoders of x-transformers: one code base, many ways to build a block."""

from collections.abc import Callable

from tests.zoo.packages import load
from tests.zoo.record import Architecture, Batch, tokens
from torch import nn

__all__ = ["ARCHITECTURES"]

_OFFSET = "a norm scale kept as its offset from one"


def _decoder(**options: object) -> Callable[[], nn.Module]:
    def factory() -> nn.Module:
        package = load("x_transformers")
        layers = package.Decoder(dim=16, depth=2, heads=2, **options)
        return package.TransformerWrapper(num_tokens=64, max_seq_len=32, attn_layers=layers)

    return factory


def _translator() -> nn.Module:
    sizes = {
        f"{side}_{key}": value
        for side in ("enc", "dec")
        for key, value in {"num_tokens": 64, "depth": 1, "heads": 2, "max_seq_len": 32}.items()
    }
    return load("x_transformers").XTransformer(dim=16, tie_token_emb=True, **sizes)


def _batch() -> Batch:
    return tokens(2, 7)


ARCHITECTURES = (
    Architecture(
        name="x-transformers: rotary, SwiGLU",
        package="x_transformers",
        # GLU's packed weight gives the value first and the gate second. RMSNorm is written with
        # normalize() and an offset from one. Rotary frequencies only on the first 32 of a head.
        factory=_decoder(
            attn_dim_head=32,
            rotary_pos_emb=True,
            ff_glu=True,
            ff_swish=True,
            ff_no_bias=True,
            use_rmsnorm=True,
        ),
        batch=_batch,
        writers=("attn_layers.layers.{i}.1.{to_out,ff.2}.weight",),
        gated=("attn_layers.layers.{i}.1.ff.0.proj.weight",),
        readouts=("to_logits.weight",),
        embeddings=("token_emb.emb.weight",),
        special={
            "attn_layers.rotary_pos_emb.inv_freq": "frequencies of rotary embeddings",
            "attn_layers.layers.{i}.0.0.g": _OFFSET,
            "attn_layers.final_norm.g": _OFFSET,
        },
    ),
    Architecture(
        name="x-transformers: sandwich, scaled residual",
        package="x_transformers",
        # s * x + norm(branch(norm(x))), with a learned vector on the stream; ScaleNorm has one
        # number; a table of relative positions shared by all layers.
        factory=_decoder(
            attn_dim_head=8,
            sandwich_norm=True,
            use_scalenorm=True,
            scale_residual=True,
            rel_pos_bias=True,
        ),
        batch=_batch,
        writers=("attn_layers.layers.{i}.1.{to_out,ff.2}.weight",),
        readouts=("to_logits.weight",),
        embeddings=("token_emb.emb.weight", "attn_layers.rel_pos.relative_attention_bias.weight"),
        special={"attn_layers.layers.{i}.2.residual_scale": "ones"},
    ),
    Architecture(
        name="x-transformers: macaron, post-norm",
        package="x_transformers",
        # Feed-forwards before and after attention, each times one half; the sum is normalized.
        # The norm is a LayerNorm without parameters times an offset from one.
        factory=_decoder(attn_dim_head=8, pre_norm=False, macaron=True, attn_qk_norm=True),
        batch=_batch,
        writers=("attn_layers.layers.{i}.1.{to_out,fn.ff.2}.weight",),
        readouts=("to_logits.weight",),
        embeddings=("{token_emb,pos_emb}.emb.weight",),
        special={"attn_layers.layers.{i}.0.2.gamma": _OFFSET},
    ),
    Architecture(
        name="x-transformers: gated residual",
        package="x_transformers",
        # A GRU cell takes the place of the sum: no writer.
        factory=_decoder(attn_dim_head=8, gate_residual=True),
        batch=_batch,
        readouts=("to_logits.weight",),
        embeddings=("{token_emb,pos_emb}.emb.weight",),
        special={
            "attn_layers.layers.{i}.0.0.gamma": _OFFSET,
            "attn_layers.final_norm.gamma": _OFFSET,
        },
    ),
    Architecture(
        name="x-transformers: encoder and decoder",
        package="x_transformers",
        # The wrapper returns a loss. Both sides share the table of tokens.
        factory=_translator,
        batch=lambda: (tokens(2, 7), tokens(2, 6, seed=1)),
        writers=(
            "encoder.attn_layers.layers.{i}.1.{to_out,ff.2}.weight",
            "decoder.net.attn_layers.layers.{i}.1.{to_out,ff.2}.weight",
        ),
        readouts=("decoder.net.to_logits.weight",),
        embeddings=("encoder.{token_emb,pos_emb}.emb.weight", "decoder.net.pos_emb.emb.weight"),
        tied=(("encoder.token_emb.emb.weight", "decoder.net.token_emb.emb.weight"),),
        special={
            "{encoder,decoder.net}.attn_layers.layers.{i}.0.0.gamma": _OFFSET,
            "{encoder,decoder.net}.attn_layers.final_norm.gamma": _OFFSET,
        },
    ),
)
