"""Encoders with decoders, from transformers: text, speech and time series."""

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, Batch, floats, tokens

__all__ = ["ARCHITECTURES"]

_BART_SIZES = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "use_cache": False,
}
_BART_WRITERS = (
    "model.{encoder,decoder}.layers.{i}.self_attn.out_proj.weight",
    "model.decoder.layers.{i}.encoder_attn.out_proj.weight",
    "model.{encoder,decoder}.layers.{i}.fc2.weight",
)
_SINUSOIDS = "a table of sinusoids"


def _batch() -> Batch:
    return {"input_ids": tokens(2, 7), "decoder_input_ids": tokens(2, 5, seed=1)}


def _series() -> Batch:
    return {
        "past_values": floats(2, 9),
        "past_time_features": floats(2, 9, 2, seed=1),
        "past_observed_mask": floats(2, 9, seed=2).abs().clamp(max=1).ceil(),
        "static_categorical_features": tokens(2, 1, below=5),
        "future_values": floats(2, 4, seed=3),
        "future_time_features": floats(2, 4, 2, seed=4),
    }


def _t5_writers(wo: str) -> tuple[str, ...]:
    return (
        "{encoder,decoder}.block.{i}.layer.0.SelfAttention.o.weight",
        "decoder.block.{i}.layer.1.EncDecAttention.o.weight",
        wo,
    )


ARCHITECTURES = (
    Architecture(
        name="T5",
        package="transformers",
        # Only the first layer of each stack has a table of relative positions; it is looked up and
        # added to scores. One table of tokens for encoder, decoder and readout.
        factory=from_transformers(
            "T5ForConditionalGeneration",
            "T5Config",
            vocab_size=64,
            d_model=16,
            d_kv=4,
            d_ff=32,
            num_layers=2,
            num_heads=4,
            use_cache=False,
        ),
        batch=_batch,
        writers=_t5_writers("{encoder,decoder}.block.{i}.layer.{i}.DenseReluDense.wo.weight"),
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
    ),
    Architecture(
        name="T5 1.1",
        package="transformers",
        # Gated feed-forward.
        factory=from_transformers(
            "T5ForConditionalGeneration",
            "T5Config",
            vocab_size=64,
            d_model=16,
            d_kv=4,
            d_ff=32,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            use_cache=False,
        ),
        batch=_batch,
        writers=_t5_writers("{encoder,decoder}.block.{i}.layer.{i}.DenseReluDense.wo.weight"),
        gates=("{encoder,decoder}.block.{i}.layer.{i}.DenseReluDense.wi_0.weight",),
        gate_values=("{encoder,decoder}.block.{i}.layer.{i}.DenseReluDense.wi_1.weight",),
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
    ),
    Architecture(
        name="BART",
        package="transformers",
        # Post-norm; the embeddings are normalized too.
        factory=from_transformers(
            "BartForConditionalGeneration",
            "BartConfig",
            **_BART_SIZES,
            vocab_size=64,
            max_position_embeddings=32,
            forced_eos_token_id=None,
        ),
        batch=_batch,
        writers=_BART_WRITERS,
        readouts=("model.shared.weight",),
        embeddings=("model.shared.weight", "model.{encoder,decoder}.embed_positions.weight"),
        tied=(
            ("model.shared.weight", "model.encoder.embed_tokens.weight"),
            ("model.shared.weight", "model.decoder.embed_tokens.weight"),
            ("model.shared.weight", "lm_head.weight"),
        ),
        padding_rows={"model.shared.weight": 1},
        special={"final_logits_bias": "a buffer of zeros"},
    ),
    Architecture(
        name="Marian",
        package="transformers",
        # Sinusoids are parameters that are never trained.
        factory=from_transformers(
            "MarianMTModel",
            "MarianConfig",
            **_BART_SIZES,
            vocab_size=64,
            pad_token_id=1,
            decoder_start_token_id=1,
            eos_token_id=0,
            forced_eos_token_id=0,
            max_position_embeddings=32,
        ),
        batch=_batch,
        writers=_BART_WRITERS,
        readouts=("model.shared.weight",),
        embeddings=("model.shared.weight", "model.{encoder,decoder}.embed_positions.weight"),
        tied=(
            ("model.shared.weight", "model.encoder.embed_tokens.weight"),
            ("model.shared.weight", "model.decoder.embed_tokens.weight"),
            ("model.shared.weight", "lm_head.weight"),
        ),
        padding_rows={"model.shared.weight": 1},
        special={
            "final_logits_bias": "a buffer of zeros",
            "model.{encoder,decoder}.embed_positions.weight": _SINUSOIDS,
        },
    ),
    Architecture(
        name="Pegasus",
        package="transformers",
        # As Marian, pre-norm.
        factory=from_transformers(
            "PegasusForConditionalGeneration",
            "PegasusConfig",
            **_BART_SIZES,
            vocab_size=64,
            max_position_embeddings=32,
        ),
        batch=_batch,
        writers=_BART_WRITERS,
        readouts=("model.shared.weight",),
        embeddings=("model.shared.weight", "model.{encoder,decoder}.embed_positions.weight"),
        tied=(
            ("model.shared.weight", "model.encoder.embed_tokens.weight"),
            ("model.shared.weight", "model.decoder.embed_tokens.weight"),
            ("model.shared.weight", "lm_head.weight"),
        ),
        padding_rows={"model.shared.weight": 0},
        special={
            "final_logits_bias": "a buffer of zeros",
            "model.{encoder,decoder}.embed_positions.weight": _SINUSOIDS,
        },
    ),
    Architecture(
        name="Whisper",
        package="transformers",
        # Two convolutions, each with GELU, make the stream, then positions are added: no residual.
        # The decoder's positions are taken with weight[ids], not with an embedding call.
        factory=from_transformers(
            "WhisperForConditionalGeneration",
            "WhisperConfig",
            **_BART_SIZES,
            vocab_size=64,
            num_mel_bins=8,
            max_source_positions=10,
            max_target_positions=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        ),
        batch=lambda: {
            "input_features": floats(2, 8, 20),
            "decoder_input_ids": tokens(2, 5),
        },
        writers=_BART_WRITERS,
        readouts=("model.decoder.embed_tokens.weight",),
        embeddings=(
            "model.decoder.embed_tokens.weight",
            "model.{encoder,decoder}.embed_positions.weight",
        ),
        tied=(("model.decoder.embed_tokens.weight", "proj_out.weight"),),
        padding_rows={"model.decoder.embed_tokens.weight": 0},
        special={"model.encoder.embed_positions.weight": _SINUSOIDS},
    ),
    Architecture(
        name="Time series transformer",
        package="transformers",
        # Post-norm. Three linears give the parameters of a Student t distribution, each through
        # its own link, and a loss: all three are readouts. The static features leave too, with
        # the embedding of the category among them.
        factory=from_transformers(
            "TimeSeriesTransformerForPrediction",
            "TimeSeriesTransformerConfig",
            **_BART_SIZES,
            prediction_length=4,
            context_length=6,
            lags_sequence=[1, 2, 3],
            num_time_features=2,
            num_static_categorical_features=1,
            cardinality=[5],
            embedding_dimension=[3],
        ),
        batch=_series,
        writers=_BART_WRITERS,
        readouts=("parameter_projection.proj.{i}.weight",),
        embeddings=(
            "model.embedder.embedders.0.weight",
            "model.{encoder,decoder}.embed_positions.weight",
        ),
        special={"model.{encoder,decoder}.embed_positions.weight": _SINUSOIDS},
    ),
)
