"""Encoders of text and of long inputs, from transformers: most of them post-norm."""

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, Batch, tokens

__all__ = ["ARCHITECTURES"]

_BERT_SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
_POSITIONS = "a buffer of positions"


def _batch() -> Batch:
    return {"input_ids": tokens(2, 7)}


ARCHITECTURES = (
    Architecture(
        name="BERT",
        package="transformers",
        # Post-norm: norm(x + branch(x)). Three embeddings are added: no residual.
        # The head's dense and norm stand before the tied readout.
        factory=from_transformers("BertForMaskedLM", "BertConfig", **_BERT_SIZES),
        batch=_batch,
        writers=(
            "bert.encoder.layer.{i}.attention.output.dense.weight",
            "bert.encoder.layer.{i}.output.dense.weight",
        ),
        readouts=("bert.embeddings.word_embeddings.weight",),
        embeddings=("bert.embeddings.{word,position,token_type}_embeddings.weight",),
        tied=(
            ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
            ("cls.predictions.bias", "cls.predictions.decoder.bias"),
        ),
        padding_rows={"bert.embeddings.word_embeddings.weight": 0},
        special={"bert.embeddings.{position,token_type}_ids": _POSITIONS},
    ),
    Architecture(
        name="RoBERTa classifier",
        package="transformers",
        # The head reads the first token only: dense, tanh, out_proj.
        factory=from_transformers(
            "RobertaForSequenceClassification", "RobertaConfig", **_BERT_SIZES, num_labels=3
        ),
        batch=_batch,
        writers=(
            "roberta.encoder.layer.{i}.attention.output.dense.weight",
            "roberta.encoder.layer.{i}.output.dense.weight",
        ),
        readouts=("classifier.out_proj.weight",),
        embeddings=("roberta.embeddings.{word,position,token_type}_embeddings.weight",),
        padding_rows={
            "roberta.embeddings.word_embeddings.weight": 1,
            "roberta.embeddings.position_embeddings.weight": 1,
        },
        special={"roberta.embeddings.{position,token_type}_ids": _POSITIONS},
    ),
    Architecture(
        name="ALBERT",
        package="transformers",
        # One layer runs three times; the same two weights write six times.
        factory=from_transformers(
            "AlbertForMaskedLM",
            "AlbertConfig",
            **{**_BERT_SIZES, "num_hidden_layers": 3},
            embedding_size=8,
        ),
        batch=_batch,
        writers=(
            "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.dense.weight",
            "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight",
        ),
        readouts=("albert.embeddings.word_embeddings.weight",),
        embeddings=("albert.embeddings.{word,position,token_type}_embeddings.weight",),
        tied=(
            ("albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"),
            ("predictions.bias", "predictions.decoder.bias"),
        ),
        padding_rows={"albert.embeddings.word_embeddings.weight": 0},
        special={"albert.embeddings.{position,token_type}_ids": _POSITIONS},
    ),
    Architecture(
        name="DistilBERT",
        package="transformers",
        factory=from_transformers(
            "DistilBertForMaskedLM",
            "DistilBertConfig",
            vocab_size=64,
            dim=16,
            hidden_dim=32,
            n_layers=2,
            n_heads=4,
            max_position_embeddings=32,
        ),
        batch=_batch,
        writers=(
            "distilbert.transformer.layer.{i}.attention.out_lin.weight",
            "distilbert.transformer.layer.{i}.ffn.lin2.weight",
        ),
        readouts=("distilbert.embeddings.word_embeddings.weight",),
        embeddings=("distilbert.embeddings.{word,position}_embeddings.weight",),
        tied=(("distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight"),),
        padding_rows={"distilbert.embeddings.word_embeddings.weight": 0},
        special={"distilbert.embeddings.position_ids": _POSITIONS},
    ),
    Architecture(
        name="ELECTRA discriminator",
        package="transformers",
        # Embeddings are projected up to the stream's width: embeddings_project begins the stream.
        factory=from_transformers(
            "ElectraForPreTraining", "ElectraConfig", **_BERT_SIZES, embedding_size=8
        ),
        batch=_batch,
        writers=(
            "electra.encoder.layer.{i}.attention.output.dense.weight",
            "electra.encoder.layer.{i}.output.dense.weight",
        ),
        readouts=("discriminator_predictions.dense_prediction.weight",),
        embeddings=("electra.embeddings.{word,position,token_type}_embeddings.weight",),
        padding_rows={"electra.embeddings.word_embeddings.weight": 0},
        special={"electra.embeddings.{position,token_type}_ids": _POSITIONS},
    ),
    Architecture(
        name="DeBERTa-v2",
        package="transformers",
        # norm(x + tanh(conv(embeddings))) after the first layer: the convolution ends in an
        # activation, so it does not write. Keys and queries also project the table of relative
        # positions, which is multiplied as a matrix and never looked up.
        factory=from_transformers(
            "DebertaV2ForMaskedLM",
            "DebertaV2Config",
            **_BERT_SIZES,
            relative_attention=True,
            position_buckets=8,
            max_relative_positions=16,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type="p2c|c2p",
            position_biased_input=False,
            conv_kernel_size=3,
        ),
        batch=_batch,
        writers=(
            "deberta.encoder.layer.{i}.attention.output.dense.weight",
            "deberta.encoder.layer.{i}.output.dense.weight",
        ),
        readouts=("deberta.embeddings.word_embeddings.weight",),
        embeddings=("deberta.embeddings.word_embeddings.weight",),
        tied=(
            ("deberta.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
            ("cls.predictions.bias", "cls.predictions.decoder.bias"),
        ),
        padding_rows={"deberta.embeddings.word_embeddings.weight": 0},
        special={"deberta.embeddings.position_ids": _POSITIONS},
        undecided={"deberta.encoder.rel_embeddings.weight": "a table used as a matrix"},
    ),
    Architecture(
        name="FNet",
        package="transformers",
        # x + real(fft(x)): a branch without weights. The classifier stands on the pooler.
        factory=from_transformers(
            "FNetForSequenceClassification",
            "FNetConfig",
            **{key: _BERT_SIZES[key] for key in _BERT_SIZES if key != "num_attention_heads"},
            num_labels=3,
        ),
        batch=_batch,
        writers=("fnet.encoder.layer.{i}.output.dense.weight",),
        readouts=("classifier.weight",),
        embeddings=("fnet.embeddings.{word,position,token_type}_embeddings.weight",),
        padding_rows={"fnet.embeddings.word_embeddings.weight": 3},
        special={"fnet.embeddings.{position,token_type}_ids": _POSITIONS},
    ),
    Architecture(
        name="Perceiver classifier",
        package="transformers",
        # Latents, a parameter, are the stream: one cross-attention writes first, then two blocks
        # share the self-attentions. The decoder's stream begins with its output query, another
        # parameter.
        factory=from_transformers(
            "PerceiverForSequenceClassification",
            "PerceiverConfig",
            vocab_size=64,
            d_model=12,
            d_latents=16,
            num_latents=5,
            num_blocks=2,
            num_self_attends_per_block=2,
            num_self_attention_heads=4,
            num_cross_attention_heads=4,
            max_position_embeddings=32,
            num_labels=3,
        ),
        batch=lambda: {"inputs": tokens(2, 7)},
        writers=(
            "perceiver.encoder.cross_attention.attention.output.dense.weight",
            "perceiver.encoder.cross_attention.mlp.dense2.weight",
            "perceiver.encoder.self_attends.{i}.attention.output.dense.weight",
            "perceiver.encoder.self_attends.{i}.mlp.dense2.weight",
            "perceiver.decoder.decoder.decoding_cross_attention.attention.output.dense.weight",
            "perceiver.decoder.decoder.decoding_cross_attention.mlp.dense2.weight",
        ),
        readouts=("perceiver.decoder.decoder.final_layer.weight",),
        embeddings=("perceiver.input_preprocessor.{embeddings,position_embeddings}.weight",),
        special={
            "perceiver.embeddings.latents": "latent vectors",
            "perceiver.decoder.decoder.output_position_encodings.position_embeddings": (
                "the output query"
            ),
        },
    ),
)
