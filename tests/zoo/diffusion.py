"""Diffusion models and their autoencoder, from diffusers."""

from collections.abc import Callable

import torch
from tests.zoo.packages import load
from tests.zoo.record import Architecture, floats
from torch import nn

__all__ = ["ARCHITECTURES"]

_FACTOR = "scale, shift and gate of adaptive norm: half of it multiplies a branch"
_POSITIONS = "a buffer of positions"
_INNER = "{down_blocks,up_blocks}.{i}.attentions.{i}.transformer_blocks.0"


def _from_diffusers(model: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: getattr(load("diffusers"), model)(**settings)


ARCHITECTURES = (
    Architecture(
        name="UNet2D",
        package="diffusers",
        # Resolutions are joined by concatenation: no residual. (x + conv2(...)) / factor inside
        # each block; the projected time embedding is added inside the branch: no residual.
        # The first up block's resnets read concatenations, so all of them have projections.
        factory=_from_diffusers(
            "UNet2DModel",
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            num_class_embeds=5,
        ),
        batch=lambda: {
            "sample": floats(2, 3, 8, 8),
            "timestep": torch.tensor([3, 7]),
            "class_labels": torch.tensor([1, 2]),
        },
        writers=(
            "{down_blocks,up_blocks}.{i}.resnets.{i}.conv2.weight",
            "{down_blocks,up_blocks}.{i}.attentions.{i}.to_out.0.weight",
            "mid_block.resnets.{i}.conv2.weight",
            "mid_block.attentions.{i}.to_out.0.weight",
        ),
        shortcuts=("{down_blocks,up_blocks}.{i}.resnets.{i}.conv_shortcut.weight",),
        readouts=("conv_out.weight",),
        embeddings=("class_embedding.weight",),
    ),
    Architecture(
        name="UNet2D conditional",
        package="diffusers",
        # A transformer inside each block is a branch, x + proj_out(transformer(proj_in(norm(x)))),
        # and its three sums are a stream within the branch. Cross-attention reads text.
        factory=_from_diffusers(
            "UNet2DConditionModel",
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=12,
        ),
        batch=lambda: {
            "sample": floats(2, 4, 8, 8),
            "timestep": torch.tensor(3),
            "encoder_hidden_states": floats(2, 5, 12),
        },
        writers=(
            "{down_blocks,up_blocks}.{i}.resnets.{i}.conv2.weight",
            "{down_blocks,up_blocks}.{i}.attentions.{i}.proj_out.weight",
            f"{_INNER}.{{attn1,attn2}}.to_out.0.weight",
            f"{_INNER}.ff.net.2.weight",
            "mid_block.resnets.{i}.conv2.weight",
            "mid_block.attentions.0.proj_out.weight",
            "mid_block.attentions.0.transformer_blocks.0.{attn1,attn2}.to_out.0.weight",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight",
        ),
        shortcuts=("{down_blocks,up_blocks}.{i}.resnets.{i}.conv_shortcut.weight",),
        gated=(
            f"{_INNER}.ff.net.0.proj.weight",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
        ),
        readouts=("conv_out.weight",),
    ),
    Architecture(
        name="Autoencoder KL",
        package="diffusers",
        # Only the mean half of quant_conv reaches the decoder in evaluation.
        factory=_from_diffusers(
            "AutoencoderKL",
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
        ),
        batch=lambda: {"sample": floats(2, 3, 8, 8)},
        writers=(
            "encoder.down_blocks.{i}.resnets.{i}.conv2.weight",
            "decoder.up_blocks.{i}.resnets.{i}.conv2.weight",
            "{encoder,decoder}.mid_block.resnets.{i}.conv2.weight",
            "{encoder,decoder}.mid_block.attentions.0.to_out.0.weight",
        ),
        shortcuts=(
            "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
            "decoder.up_blocks.1.resnets.0.conv_shortcut.weight",
        ),
        readouts=("decoder.conv_out.weight",),
    ),
    Architecture(
        name="DiT",
        package="diffusers",
        # x + gate * branch(norm(x) * (1 + scale) + shift) with scale, shift and gate from time
        # and class: the branch writes, the adaptive norm's linear does not. Norms have no
        # parameters.
        factory=_from_diffusers(
            "DiTTransformer2DModel",
            num_attention_heads=4,
            attention_head_dim=4,
            in_channels=3,
            num_layers=2,
            sample_size=8,
            patch_size=2,
            num_embeds_ada_norm=10,
            norm_num_groups=4,
        ),
        batch=lambda: {
            "hidden_states": floats(2, 3, 8, 8),
            "timestep": torch.tensor([3, 7]),
            "class_labels": torch.tensor([1, 2]),
        },
        writers=(
            "transformer_blocks.{i}.attn1.to_out.0.weight",
            "transformer_blocks.{i}.ff.net.2.weight",
        ),
        readouts=("proj_out_2.weight",),
        embeddings=("transformer_blocks.{i}.norm1.emb.class_embedder.embedding_table.weight",),
        special={"pos_embed.pos_embed": _POSITIONS},
        undecided={
            "transformer_blocks.{i}.norm1.linear.weight": _FACTOR,
            "proj_out_1.weight": "scale and shift of the last norm",
        },
    ),
    Architecture(
        name="Stable Diffusion 3",
        package="diffusers",
        # Two streams, image and text, joined in attention. The last block leaves the text stream
        # unwritten, so it has no to_add_out and no ff_context.
        factory=_from_diffusers(
            "SD3Transformer2DModel",
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=4,
            num_attention_heads=4,
            joint_attention_dim=12,
            caption_projection_dim=16,
            pooled_projection_dim=10,
            out_channels=4,
            pos_embed_max_size=4,
        ),
        batch=lambda: {
            "hidden_states": floats(2, 4, 8, 8),
            "encoder_hidden_states": floats(2, 5, 12),
            "pooled_projections": floats(2, 10),
            "timestep": torch.tensor([3, 7]),
        },
        writers=(
            "transformer_blocks.{i}.attn.to_out.0.weight",
            "transformer_blocks.{i}.attn.to_add_out.weight",
            "transformer_blocks.{i}.{ff,ff_context}.net.2.weight",
        ),
        readouts=("proj_out.weight",),
        special={"pos_embed.pos_embed": _POSITIONS},
        undecided={
            "transformer_blocks.{i}.{norm1,norm1_context}.linear.weight": _FACTOR,
            "norm_out.linear.weight": "scale and shift of the last norm",
        },
    ),
    Architecture(
        name="Flux",
        package="diffusers",
        # One block of two streams, then one block of the concatenated stream, whose attention and
        # feed-forward are concatenated and projected by one writer.
        factory=_from_diffusers(
            "FluxTransformer2DModel",
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=12,
            pooled_projection_dim=10,
            axes_dims_rope=(2, 2, 4),
        ),
        batch=lambda: {
            "hidden_states": floats(2, 6, 4),
            "encoder_hidden_states": floats(2, 5, 12),
            "pooled_projections": floats(2, 10),
            "timestep": torch.tensor([0.3, 0.7]),
            "img_ids": floats(6, 3).abs(),
            "txt_ids": torch.zeros(5, 3),
        },
        writers=(
            "transformer_blocks.{i}.attn.{to_out.0,to_add_out}.weight",
            "transformer_blocks.{i}.{ff,ff_context}.net.2.weight",
            "single_transformer_blocks.{i}.proj_out.weight",
        ),
        readouts=("proj_out.weight",),
        undecided={
            "transformer_blocks.{i}.{norm1,norm1_context}.linear.weight": _FACTOR,
            "single_transformer_blocks.{i}.norm.linear.weight": _FACTOR,
            "norm_out.linear.weight": "scale and shift of the last norm",
        },
    ),
    Architecture(
        name="PixArt",
        package="diffusers",
        # Scale, shift and gate of all blocks from one linear, plus a learned table of each block.
        # Cross-attention is added without a gate.
        factory=_from_diffusers(
            "PixArtTransformer2DModel",
            num_attention_heads=4,
            attention_head_dim=4,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            sample_size=8,
            patch_size=2,
            cross_attention_dim=16,
            caption_channels=12,
            norm_num_groups=4,
            use_additional_conditions=False,
        ),
        batch=lambda: {
            "hidden_states": floats(2, 4, 8, 8),
            "encoder_hidden_states": floats(2, 5, 12),
            "timestep": torch.tensor([3, 7]),
        },
        writers=(
            "transformer_blocks.{i}.{attn1,attn2}.to_out.0.weight",
            "transformer_blocks.{i}.ff.net.2.weight",
        ),
        readouts=("proj_out.weight",),
        special={
            "transformer_blocks.{i}.scale_shift_table": "drawn by the model",
            "scale_shift_table": "drawn by the model",
            "pos_embed.pos_embed": _POSITIONS,
        },
        undecided={"adaln_single.linear.weight": _FACTOR},
    ),
)
