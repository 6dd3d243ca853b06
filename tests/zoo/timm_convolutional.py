"""Convolutional networks of timm."""

from tests.zoo.packages import from_timm, load
from tests.zoo.record import Architecture, Batch, floats
from torch import nn

__all__ = ["ARCHITECTURES"]

_LAST_GAMMA = "the last norm's zeroed scale: each block begins as its shortcut"
_LAYER_SCALE = "LayerScale: constant"

_MAXVIT_TABLE = (
    "stages.{i}.blocks.{i}.{attn_block,attn_grid}.attn.rel_pos.relative_position_bias_table"
)


def _image() -> Batch:
    return floats(2, 3, 32, 32)


def _regnet() -> nn.Module:
    regnet = load("timm.models.regnet")
    sizes = {"depth": 6, "w0": 8, "wa": 8.0, "wm": 2.0, "group_size": 4, "stem_width": 8}
    return regnet.RegNet(regnet.RegNetCfg(**sizes, se_ratio=0.25), num_classes=3)


def _vgg() -> nn.Module:
    vgg = load("timm.models.vgg").VGG
    return vgg(cfg=[8, "M", 16, 16, "M"], num_classes=3, mlp_ratio=0.002)


def _repvgg() -> nn.Module:
    models = load("timm.models.byobnet")
    blocks = tuple(
        models.ByoBlockCfg(type="rep", d=2, c=width, s=2, gs=0, br=1.0) for width in (8, 16)
    )
    sizes = models.ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=8)
    return models.ByobNet(sizes, num_classes=3)


def _maxvit() -> nn.Module:
    models = load("timm.models.maxxvit")
    sizes = models.MaxxVitCfg(embed_dim=(8, 16), depths=(1, 2), block_type=("M", "M"), stem_width=8)
    for part in (sizes.conv_cfg, sizes.transformer_cfg):
        part.expand_ratio = 2.0
    sizes.transformer_cfg.dim_head = 4
    return models.MaxxVit(sizes, img_size=64, num_classes=3)


ARCHITECTURES = (
    Architecture(
        name="ResNet-18",
        package="timm",
        # relu(norm(conv2(...)) + x), the sum and the activations in place. The first stage keeps
        # width and stride, so it has no projection.
        factory=from_timm("resnet18", layers=(1, 1, 1, 2), channels=(64, 16, 24, 32)),
        batch=_image,
        writers=("layer{i}.{i}.conv2.weight",),
        shortcuts=("layer{i}.0.downsample.0.weight",),
        readouts=("fc.weight",),
        special={"layer{i}.{i}.bn2.weight": _LAST_GAMMA},
    ),
    Architecture(
        name="ResNet-26-D",
        package="timm",
        # Bottlenecks, a stem of three convolutions, shortcuts with average pooling before them.
        factory=from_timm("resnet26d", layers=(1, 1, 1, 1), channels=(8, 16, 16, 16), stem_width=8),
        batch=_image,
        writers=("layer{i}.0.conv3.weight",),
        shortcuts=("layer{i}.0.downsample.1.weight",),
        readouts=("fc.weight",),
        special={"layer{i}.0.bn3.weight": _LAST_GAMMA},
    ),
    Architecture(
        name="SE-ResNet-18",
        package="timm",
        # The branch ends in s(x) x with s = sigmoid(fc2(relu(fc1(mean(x))))): conv2 writes, the
        # factor does not.
        factory=from_timm("seresnet18", layers=(1, 1, 1, 1), channels=(64, 16, 16, 16)),
        batch=_image,
        writers=("layer{i}.0.conv2.weight",),
        shortcuts=("layer{i}.0.downsample.0.weight",),
        readouts=("fc.weight",),
        special={"layer{i}.0.bn2.weight": _LAST_GAMMA},
    ),
    Architecture(
        name="ResNet V2",
        package="timm",
        # Pre-activation; weights are standardized in the forward pass by a batch norm of the
        # weight; the projection reads the normalized and activated input, not the stream itself.
        factory=from_timm("resnetv2_50", layers=(1, 2), channels=(32, 64), stem_chs=32),
        batch=_image,
        writers=("stages.{i}.blocks.{i}.conv3.weight",),
        shortcuts=("stages.{i}.blocks.0.downsample.conv.weight",),
        readouts=("head.fc.weight",),
    ),
    Architecture(
        name="NFNet",
        package="timm",
        # No norm: weights are standardized and multiplied by a learned gain; the last gain of a
        # block starts at zero. Then squeeze-and-excitation times a constant, times alpha, then
        # the sum.
        factory=from_timm(
            "nfnet_l0",
            depths=(1, 2, 1, 1),
            channels=(16, 16, 24, 24),
            stem_chs=16,
            num_features=32,
            group_size=8,
            attn_kwargs={"rd_ratio": 0.5},
        ),
        batch=_image,
        writers=("stages.{i}.{i}.conv3.weight",),
        shortcuts=("stages.{i}.0.downsample.conv.weight",),
        readouts=("head.fc.weight",),
        special={"stages.{i}.{i}.conv3.gain": "zeroed gain: each block begins as its shortcut"},
    ),
    Architecture(
        name="DM-NFNet",
        package="timm",
        # As NFNet, with SkipInit: a learned scalar that starts at zero, multiplied in place.
        factory=from_timm(
            "dm_nfnet_f0",
            depths=(1, 2, 1, 1),
            channels=(16, 16, 24, 24),
            stem_chs=16,
            num_features=32,
            group_size=8,
            attn_kwargs={"rd_ratio": 0.5},
        ),
        batch=_image,
        writers=("stages.{i}.{i}.conv3.weight",),
        shortcuts=("stages.{i}.0.downsample.conv.weight",),
        readouts=("head.fc.weight",),
        special={"stages.{i}.{i}.skipinit_gain": "SkipInit: zero"},
    ),
    Architecture(
        name="TinyNet (EfficientNet)",
        package="timm",
        # A block adds its input only where width and stride stay: here the second of its stage.
        factory=from_timm("tinynet_e"),
        batch=_image,
        writers=("blocks.{3,4,5}.1.conv_pwl.weight",),
        readouts=("classifier.weight",),
    ),
    Architecture(
        name="MobileNetV3",
        package="timm",
        # blocks.3.0 keeps width and stride, so it writes although it is the first of its stage.
        factory=from_timm("mobilenetv3_small_050"),
        batch=_image,
        writers=(
            "blocks.1.1.conv_pwl.weight",
            "blocks.{2,4}.{1,2}.conv_pwl.weight",
            "blocks.3.{0,1}.conv_pwl.weight",
        ),
        readouts=("classifier.weight",),
    ),
    Architecture(
        name="ConvNeXt",
        package="timm",
        # LayerScale; 1x1 convolutions in the feed-forward. Downsampling stands between stages.
        factory=from_timm("convnext_atto", depths=(1, 1, 1, 2), dims=(8, 16, 16, 24)),
        batch=_image,
        writers=("stages.{i}.blocks.{i}.mlp.fc2.weight",),
        readouts=("head.fc.weight",),
        special={"stages.{i}.blocks.{i}.gamma": _LAYER_SCALE},
    ),
    Architecture(
        name="RegNet-Y",
        package="timm",
        # Grouped convolutions; squeeze-and-excitation stands before the last convolution.
        factory=_regnet,
        batch=_image,
        writers=("s{i}.b{i}.conv3.conv.weight",),
        shortcuts=("s{i}.b1.downsample.conv.weight",),
        readouts=("head.fc.weight",),
        special={"s{i}.b{i}.conv3.bn.weight": _LAST_GAMMA},
    ),
    Architecture(
        name="DenseNet",
        package="timm",
        # Everything is concatenated: no writer.
        factory=from_timm("densenet121", growth_rate=4, block_config=(2, 2)),
        batch=_image,
        readouts=("classifier.weight",),
    ),
    Architecture(
        name="VGG",
        package="timm",
        # Plain.
        factory=_vgg,
        batch=_image,
        readouts=("head.fc.weight",),
    ),
    Architecture(
        name="RepVGG",
        package="timm",
        # relu(norm(conv3x3(x)) + norm(conv1x1(x)) + norm(x)): where width and stride stay, both
        # convolutions write into a stream that is itself normalized; in the first block of a
        # stage there is no norm(x), so nothing is a stream.
        factory=_repvgg,
        batch=_image,
        writers=("stages.{i}.1.{conv_kxk,conv_1x1}.conv.weight",),
        readouts=("head.fc.weight",),
    ),
    Architecture(
        name="MaxViT",
        package="timm",
        # Inverted bottlenecks with squeeze-and-excitation before the last convolution, then
        # attention in blocks and in grids. Shortcuts pool, and project where the width changes.
        factory=_maxvit,
        batch=lambda: floats(2, 3, 64, 64),
        writers=(
            "stages.{i}.blocks.{i}.conv.conv3_1x1.weight",
            "stages.{i}.blocks.{i}.{attn_block,attn_grid}.attn.proj.weight",
            "stages.{i}.blocks.{i}.{attn_block,attn_grid}.mlp.fc2.weight",
        ),
        shortcuts=("stages.1.blocks.0.conv.shortcut.expand.weight",),
        readouts=("head.fc.weight",),
        special={_MAXVIT_TABLE: "a table of relative positions"},
        undecided={_MAXVIT_TABLE: "a parameter that is indexed, then added to scores"},
    ),
)
