"""Transformers, mixers and their relatives of timm."""

from collections.abc import Callable

from tests.zoo.packages import from_timm, load
from tests.zoo.record import Architecture, Batch, floats
from torch import nn

__all__ = ["ARCHITECTURES"]

_LAYER_SCALE = "LayerScale: constant"
_SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 4}
_MIXER = {"num_classes": 3, "img_size": 16, "patch_size": 8, "embed_dim": 16, "num_blocks": 2}


def _image() -> Batch:
    return floats(2, 3, 16, 16)


def _larger_image() -> Batch:
    return floats(2, 3, 32, 32)


def _mixer(**classes: str) -> Callable[[], nn.Module]:
    def factory() -> nn.Module:
        module = load("timm.models.mlp_mixer")
        found = {key: getattr(module, name) for key, name in classes.items()}
        ratio = 4.0 if found else (0.5, 4.0)
        return module.MlpMixer(**_MIXER, mlp_ratio=ratio, **found)

    return factory


def _poolformer() -> nn.Module:
    models, layers = load("timm.models.metaformer"), load("timm.layers")
    return models.MetaFormer(
        num_classes=3,
        depths=(1, 1, 1, 2),
        dims=(8, 16, 16, 24),
        norm_layers=layers.GroupNorm1,
        use_mlp_head=False,
    )


ARCHITECTURES = (
    Architecture(
        name="ViT (timm)",
        package="timm",
        # Packed queries, keys and values.
        factory=from_timm("vit_tiny_patch16_224", **_SMALL),
        batch=_image,
        writers=("blocks.{i}.attn.proj.weight", "blocks.{i}.mlp.fc2.weight"),
        readouts=("head.weight",),
        special={"{cls_token,pos_embed}": "token and positions"},
    ),
    Architecture(
        name="DeiT III",
        package="timm",
        # LayerScale as modules of the branch.
        factory=from_timm("deit3_small_patch16_224", **_SMALL),
        batch=_image,
        writers=("blocks.{i}.attn.proj.weight", "blocks.{i}.mlp.fc2.weight"),
        readouts=("head.weight",),
        special={
            "{cls_token,pos_embed}": "token and positions",
            "blocks.{i}.ls{i}.gamma": _LAYER_SCALE,
        },
    ),
    Architecture(
        name="CaiT",
        package="timm",
        # Talking heads: linears over heads before and after the softmax are no writers. Then the
        # class token is a stream of its own that reads the patches through concatenation.
        factory=from_timm("cait_xxs24_224", **_SMALL),
        batch=_image,
        writers=(
            "{blocks,blocks_token_only}.{i}.attn.proj.weight",
            "{blocks,blocks_token_only}.{i}.mlp.fc2.weight",
        ),
        readouts=("head.weight",),
        special={
            "{cls_token,pos_embed}": "token and positions",
            "{blocks,blocks_token_only}.{i}.gamma_{i}": _LAYER_SCALE,
        },
    ),
    Architecture(
        name="XCiT",
        package="timm",
        # Three branches a block; attention over channels, whose queries are multiplied by a
        # learned temperature. Positions are projected from constants and added: no residual. In
        # the class blocks the branch's output is concatenated with the patches before the sum.
        factory=from_timm("xcit_nano_12_p16_224", img_size=32, embed_dim=16, depth=2, num_heads=4),
        batch=_larger_image,
        writers=(
            "blocks.{i}.attn.proj.weight",
            "blocks.{i}.local_mp.conv2.weight",
            "blocks.{i}.mlp.fc2.weight",
            "cls_attn_blocks.{i}.attn.proj.weight",
            "cls_attn_blocks.{i}.mlp.fc2.weight",
        ),
        readouts=("head.weight",),
        special={
            "cls_token": "class token",
            "{blocks,cls_attn_blocks}.{i}.gamma{i}": _LAYER_SCALE,
            "blocks.{i}.attn.temperature": "ones",
        },
    ),
    Architecture(
        name="Swin (timm)",
        package="timm",
        factory=from_timm(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            window_size=4,
            embed_dim=8,
            depths=(2, 1),
            num_heads=(2, 4),
        ),
        batch=_larger_image,
        writers=(
            "layers.{i}.blocks.{i}.attn.proj.weight",
            "layers.{i}.blocks.{i}.mlp.fc2.weight",
        ),
        readouts=("head.fc.weight",),
        special={
            "layers.{i}.blocks.{i}.attn.relative_position_bias_table": (
                "a table of relative positions"
            ),
        },
        undecided={
            "layers.{i}.blocks.{i}.attn.relative_position_bias_table": (
                "a parameter that is indexed, then added to scores"
            ),
        },
    ),
    Architecture(
        name="MLP-Mixer (timm)",
        package="timm",
        # Tokens are mixed under a transpose, between the norm and the sum. The readout is zero.
        factory=_mixer(),
        batch=_image,
        writers=("blocks.{i}.mlp_{tokens,channels}.fc2.weight",),
        readouts=("head.weight",),
        special={"head.weight": "zeros"},
    ),
    Architecture(
        name="gMLP",
        package="timm",
        # u * proj(v) over tokens, with ones for the bias: a product of two halves without an
        # activation of its own.
        factory=_mixer(block_layer="SpatialGatingBlock", mlp_layer="GatedMlp"),
        batch=_image,
        writers=("blocks.{i}.mlp_channels.fc2.weight",),
        readouts=("head.weight",),
        special={
            "head.weight": "zeros",
            "blocks.{i}.mlp_channels.gate.proj.bias": "ones: the gate begins open",
            "blocks.{i}.mlp_channels.gate.proj.weight": "nearly zero: std 1e-6",
        },
        undecided={
            "blocks.{i}.mlp_channels.fc1.weight": "half of it is multiplied by the other half",
            "blocks.{i}.mlp_channels.gate.proj.weight": "the factor, linear and over tokens",
        },
    ),
    Architecture(
        name="ResMLP",
        package="timm",
        # Affine in place of norms; a single linear over tokens is the whole branch and writes.
        factory=_mixer(block_layer="ResBlock", norm_layer="Affine"),
        batch=_image,
        writers=(
            "blocks.{i}.linear_tokens.weight",
            "blocks.{i}.mlp_channels.fc2.weight",
        ),
        readouts=("head.weight",),
        special={"head.weight": "zeros", "blocks.{i}.ls{i}": _LAYER_SCALE},
    ),
    Architecture(
        name="PoolFormer V2",
        package="timm",
        # The token mixer pool(x) - x has no weights. In later stages the stream itself is
        # multiplied by a learned vector. StarReLU has a learned scale and shift.
        factory=_poolformer,
        batch=_larger_image,
        writers=("stages.{i}.blocks.{i}.mlp.fc2.weight",),
        readouts=("head.fc.weight",),
        special={
            "stages.{i}.blocks.{i}.res_scale{i}.scale": "ones",
            "stages.{i}.blocks.{i}.mlp.act.{scale,bias}": "StarReLU's constants",
        },
    ),
)
