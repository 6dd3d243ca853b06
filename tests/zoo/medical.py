"""Segmentation and classification networks of MONAI."""

from collections.abc import Callable

from tests.zoo.packages import load
from tests.zoo.record import Architecture, floats
from torch import nn

__all__ = ["ARCHITECTURES"]


def _net(name: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: getattr(load("monai.networks.nets"), name)(**settings)


ARCHITECTURES = (
    Architecture(
        name="MONAI UNet",
        package="monai",
        # conv(x) + residual(x) where conv ends in norm and PReLU, so only the very last unit,
        # which is a bare convolution, writes. The residual's own convolution is the shortcut,
        # although nothing but the sum follows it. Levels are joined by concatenation.
        # The last sum is the model's output.
        factory=_net(
            "UNet",
            spatial_dims=2,
            in_channels=1,
            out_channels=2,
            channels=(4, 8, 12),
            strides=(2, 2),
            num_res_units=2,
        ),
        batch=lambda: floats(2, 1, 16, 16),
        writers=("model.2.1.conv.unit0.conv.weight",),
        shortcuts=(
            "model.0.residual.weight",
            "model.1.submodule.0.residual.weight",
            "model.1.submodule.1.submodule.residual.weight",
        ),
        undecided={
            "model.2.1.conv.unit0.conv.weight": "writes into a stream that is the output",
            "model.2.0.conv.weight": "begins that stream",
        },
    ),
    Architecture(
        name="SegResNet",
        package="monai",
        # Levels are joined by a sum: up(x) + what the encoder had there. The whole deeper part is
        # a branch of that stream, and its last weight, the 1x1 convolution before interpolation,
        # writes.
        factory=_net(
            "SegResNet",
            spatial_dims=2,
            init_filters=8,
            in_channels=1,
            out_channels=2,
            blocks_down=(1, 2, 1),
            blocks_up=(1, 1),
        ),
        batch=lambda: floats(2, 1, 16, 16),
        writers=(
            "down_layers.{i}.{i}.conv2.conv.weight",
            "up_layers.{i}.{i}.conv2.conv.weight",
            "up_samples.{i}.0.conv.weight",
        ),
        readouts=("conv_final.2.conv.weight",),
    ),
    Architecture(
        name="UNETR",
        package="monai",
        # A vision transformer whose states at four depths go to a convolutional decoder.
        # MONAI's block makes cross-attention that is never run. Instance norms without
        # parameters.
        factory=_net(
            "UNETR",
            spatial_dims=2,
            in_channels=1,
            out_channels=2,
            img_size=32,
            feature_size=4,
            hidden_size=16,
            mlp_dim=32,
            num_heads=4,
        ),
        batch=lambda: floats(2, 1, 32, 32),
        writers=(
            "vit.blocks.{i}.attn.out_proj.weight",
            "vit.blocks.{i}.mlp.linear2.weight",
            "encoder1.layer.conv2.conv.weight",
            "encoder{i}.blocks.{i}.1.conv2.conv.weight",
            "decoder{i}.conv_block.conv2.conv.weight",
        ),
        shortcuts=("encoder1.layer.conv3.conv.weight", "decoder{i}.conv_block.conv3.conv.weight"),
        readouts=("out.conv.conv.weight",),
        never_ran=("vit.blocks.{i}.norm_cross_attn.{weight,bias}",),
        special={"vit.patch_embedding.position_embeddings": "positions"},
    ),
    Architecture(
        name="MONAI DenseNet",
        package="monai",
        # In three dimensions; everything is concatenated.
        factory=_net(
            "DenseNet",
            spatial_dims=3,
            in_channels=1,
            out_channels=3,
            init_features=8,
            growth_rate=4,
            block_config=(2, 2),
        ),
        batch=lambda: floats(2, 1, 16, 16, 16),
        readouts=("class_layers.out.weight",),
    ),
)
