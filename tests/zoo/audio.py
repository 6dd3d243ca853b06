"""Speech and audio models of transformers: weight norm, LSTM, several streams side by side."""

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, floats
from torch import nn

__all__ = ["ARCHITECTURES"]

_CONFORMER = "wav2vec2_conformer.encoder.layers.{i}"


def _hifigan() -> nn.Module:
    model = from_transformers(
        "SpeechT5HifiGan",
        "SpeechT5HifiGanConfig",
        model_in_dim=8,
        upsample_initial_channel=16,
        upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4],
        resblock_kernel_sizes=[3, 5],
        resblock_dilation_sizes=[[1, 3], [1, 3]],
    )()
    model.apply_weight_norm()
    return model


ARCHITECTURES = (
    Architecture(
        name="Wav2Vec2",
        package="transformers",
        # Post-norm. x + gelu(conv(x)) for positions: the convolution, parametrized by weight norm,
        # ends in an activation, so it does not write. masked_spec_embed is for training only.
        factory=from_transformers(
            "Wav2Vec2ForCTC",
            "Wav2Vec2Config",
            vocab_size=20,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            conv_dim=[8, 8],
            conv_stride=[4, 2],
            conv_kernel=[8, 3],
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
        ),
        batch=lambda: {"input_values": floats(2, 200)},
        writers=(
            "wav2vec2.encoder.layers.{i}.attention.out_proj.weight",
            "wav2vec2.encoder.layers.{i}.feed_forward.output_dense.weight",
        ),
        readouts=("lm_head.weight",),
        never_ran=("wav2vec2.masked_spec_embed",),
    ),
    Architecture(
        name="Wav2Vec2-Conformer",
        package="transformers",
        # Two feed-forwards times one half, attention with relative positions, and a convolution
        # module with GLU (value first) and batch norm. The convolution for positions is made but
        # never run.
        factory=from_transformers(
            "Wav2Vec2ConformerForCTC",
            "Wav2Vec2ConformerConfig",
            vocab_size=20,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            conv_dim=[8, 8],
            conv_stride=[4, 2],
            conv_kernel=[8, 3],
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            conv_depthwise_kernel_size=3,
        ),
        batch=lambda: {"input_values": floats(2, 200)},
        writers=(
            f"{_CONFORMER}.{{ffn1,ffn2}}.output_dense.weight",
            f"{_CONFORMER}.self_attn.linear_out.weight",
            f"{_CONFORMER}.conv_module.pointwise_conv2.weight",
        ),
        gated=(f"{_CONFORMER}.conv_module.pointwise_conv1.weight",),
        readouts=("lm_head.weight",),
        never_ran=(
            "wav2vec2_conformer.masked_spec_embed",
            "wav2vec2_conformer.encoder.pos_conv_embed.conv.{weight,bias}",
        ),
    ),
    Architecture(
        name="EnCodec",
        package="transformers",
        # Every convolution is under weight norm. shortcut(x) + conv(elu(conv(elu(x)))): the last
        # convolution writes. x + lstm(x): an LSTM ends in a product with tanh, so it does not.
        # The codes are whole numbers, so the decoder begins anew with a table of buffers.
        factory=from_transformers(
            "EncodecModel",
            "EncodecConfig",
            num_filters=4,
            upsampling_ratios=[2, 2],
            hidden_size=8,
            codebook_size=16,
            codebook_dim=8,
            target_bandwidths=[48.0],
            num_lstm_layers=1,
            num_residual_layers=1,
        ),
        batch=lambda: {"input_values": floats(2, 1, 64)},
        writers=("{encoder,decoder}.layers.{i}.block.3.conv.weight",),
        shortcuts=("{encoder,decoder}.layers.{i}.shortcut.conv.weight",),
        readouts=("decoder.layers.9.conv.weight",),
        undecided={"encoder.layers.9.conv.weight": "its output only picks codes"},
    ),
    Architecture(
        name="HiFi-GAN",
        package="transformers",
        # Weight norm on every convolution, applied after construction. Two residual stacks read
        # the same signal; their ends are added in place and averaged.
        factory=_hifigan,
        batch=lambda: {"spectrogram": floats(2, 6, 8)},
        writers=("resblocks.{i}.convs2.{i}.weight",),
        readouts=("conv_post.weight",),
    ),
)
