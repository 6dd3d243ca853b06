"""Vision models of transformers, and two that pair images with text."""

from collections.abc import Callable

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, Batch, floats, tokens

__all__ = ["ARCHITECTURES"]

_VIT_SIZES = {
    "image_size": 8,
    "patch_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_labels": 3,
}
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 8,
}
_TEXT_TOWER = {
    **_TOWER,
    "vocab_size": 64,
    "max_position_embeddings": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_DETR_STAGE = "model.backbone.model.encoder.stages"
_IMAGE_TOWER = {**_TOWER, "image_size": 8, "patch_size": 4}


def _image(size: int) -> Callable[[], Batch]:
    return lambda: {"pixel_values": floats(2, 3, size, size)}


def _pair() -> Batch:
    return {"input_ids": tokens(2, 7), "pixel_values": floats(2, 3, 8, 8)}


ARCHITECTURES = (
    Architecture(
        name="ViT",
        package="transformers",
        factory=from_transformers(
            "ViTForImageClassification", "ViTConfig", **_VIT_SIZES, intermediate_size=32
        ),
        batch=_image(8),
        writers=("vit.layers.{i}.attention.o_proj.weight", "vit.layers.{i}.mlp.fc2.weight"),
        readouts=("classifier.weight",),
        special={"vit.embeddings.{cls_token,position_embeddings}": "token and positions"},
    ),
    Architecture(
        name="DINOv2",
        package="transformers",
        # LayerScale on both branches, SwiGLU, a mask token that no run without a mask uses.
        factory=from_transformers(
            "Dinov2ForImageClassification",
            "Dinov2Config",
            **_VIT_SIZES,
            mlp_ratio=2,
            use_swiglu_ffn=True,
            layerscale_value=1e-5,
        ),
        batch=_image(8),
        writers=(
            "dinov2.encoder.layer.{i}.attention.o_proj.weight",
            "dinov2.encoder.layer.{i}.mlp.down_proj.weight",
        ),
        gates=("dinov2.encoder.layer.{i}.mlp.gate_proj.weight",),
        gate_values=("dinov2.encoder.layer.{i}.mlp.up_proj.weight",),
        readouts=("classifier.weight",),
        never_ran=("dinov2.embeddings.mask_token",),
        special={
            "dinov2.encoder.layer.{i}.layer_scale{i}.lambda1": "LayerScale: constant",
            "dinov2.embeddings.{cls_token,mask_token,position_embeddings}": "tokens and positions",
        },
    ),
    Architecture(
        name="BEiT",
        package="transformers",
        # LayerScale; the table of relative positions is interpolated, concatenated and indexed.
        factory=from_transformers(
            "BeitForImageClassification",
            "BeitConfig",
            **_VIT_SIZES,
            intermediate_size=32,
            use_relative_position_bias=True,
            layer_scale_init_value=0.1,
        ),
        batch=_image(8),
        writers=("beit.layers.{i}.attention.o_proj.weight", "beit.layers.{i}.mlp.fc2.weight"),
        readouts=("classifier.weight",),
        special={
            "beit.layers.{i}.{lambda_1,lambda_2}": "LayerScale: constant",
            "beit.layers.{i}.relative_position_bias.relative_position_bias_table": "zeros",
            "beit.embeddings.cls_token": "class token",
        },
        undecided={
            "beit.layers.{i}.relative_position_bias.relative_position_bias_table": (
                "a parameter that is indexed, then added to scores"
            ),
        },
    ),
    Architecture(
        name="Swin",
        package="transformers",
        # Windows are shifted by roll between the branch and the sum. Patch merging is no residual.
        factory=from_transformers(
            "SwinForImageClassification",
            "SwinConfig",
            image_size=16,
            patch_size=2,
            embed_dim=8,
            depths=[2, 1],
            num_heads=[2, 4],
            window_size=4,
            mlp_ratio=2.0,
            num_labels=3,
        ),
        batch=_image(16),
        writers=(
            "swin.encoder.layers.{i}.blocks.{i}.attention.o_proj.weight",
            "swin.encoder.layers.{i}.blocks.{i}.mlp.fc2.weight",
        ),
        readouts=("classifier.weight",),
        special={
            "swin.encoder.layers.{i}.blocks.{i}.attention.relative_position_bias"
            ".relative_position_bias_table": "a table of relative positions",
        },
        undecided={
            "swin.encoder.layers.{i}.blocks.{i}.attention.relative_position_bias"
            ".relative_position_bias_table": "a parameter that is indexed, then added to scores",
        },
    ),
    Architecture(
        name="ConvNeXt V2",
        package="transformers",
        # Global response norm w (x n(x)) + b + x has elementwise parameters only: no writer.
        factory=from_transformers(
            "ConvNextV2ForImageClassification",
            "ConvNextV2Config",
            hidden_sizes=[8, 16],
            depths=[1, 2],
            num_stages=2,
            patch_size=2,
            num_labels=3,
        ),
        batch=_image(16),
        writers=("convnextv2.encoder.stages.{i}.layers.{i}.pwconv2.weight",),
        readouts=("classifier.weight",),
        special={"convnextv2.encoder.stages.{i}.layers.{i}.grn.{weight,bias}": "zeros"},
    ),
    Architecture(
        name="SegFormer",
        package="transformers",
        # Keys and values from a strided convolution with norm. Four (here two) scales are
        # concatenated in the decoder: no residual.
        factory=from_transformers(
            "SegformerForSemanticSegmentation",
            "SegformerConfig",
            num_encoder_blocks=2,
            depths=[1, 2],
            sr_ratios=[2, 1],
            hidden_sizes=[8, 16],
            patch_sizes=[3, 3],
            strides=[2, 2],
            num_attention_heads=[2, 4],
            mlp_ratios=[2, 2],
            decoder_hidden_size=12,
            num_labels=3,
        ),
        batch=_image(16),
        writers=(
            "segformer.stages.{i}.blocks.{i}.attention.o_proj.weight",
            "segformer.stages.{i}.blocks.{i}.mlp.fc2.weight",
        ),
        readouts=("decode_head.classifier.weight",),
    ),
    Architecture(
        name="MobileViT",
        package="transformers",
        # Inverted residuals write only where width and stride stay: the second and third of the
        # second stage, and the first stage, whose two widths are equal here. Transformers inside
        # convolutional blocks; their outputs are concatenated with the block's input.
        factory=from_transformers(
            "MobileViTForImageClassification",
            "MobileViTConfig",
            image_size=32,
            hidden_sizes=[12, 16, 20],
            neck_hidden_sizes=[8, 8, 12, 12, 16, 16, 24],
            num_attention_heads=4,
            num_labels=3,
        ),
        batch=_image(32),
        writers=(
            "mobilevit.encoder.layer.0.layer.0.reduce_1x1.convolution.weight",
            "mobilevit.encoder.layer.1.layer.{1,2}.reduce_1x1.convolution.weight",
            "mobilevit.encoder.layer.{i}.transformer.layer.{i}.attention.output.dense.weight",
            "mobilevit.encoder.layer.{i}.transformer.layer.{i}.output.dense.weight",
        ),
        readouts=("classifier.weight",),
    ),
    Architecture(
        name="DETR",
        package="transformers",
        # Post-norm. A ResNet backbone with frozen batch norms (buffers). Positions are added to
        # the inputs of queries and keys only. The decoder's stream begins with zeros; its query
        # positions are an embedding table used whole. Two heads are readouts.
        factory=from_transformers(
            "DetrForObjectDetection",
            "DetrConfig",
            d_model=16,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_queries=5,
            num_labels=3,
            use_timm_backbone=False,
            backbone_config={
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [8, 16],
                "depths": [1, 1],
                "out_features": ["stage2"],
            },
        ),
        batch=_image(32),
        writers=(
            f"{_DETR_STAGE}.{{i}}.layers.0.layer.2.convolution.weight",
            # The decoder's stream begins as zeros: its first attention does not add to anything.
            "model.encoder.layers.{i}.self_attn.o_proj.weight",
            "model.decoder.layers.1.self_attn.o_proj.weight",
            "model.decoder.layers.{i}.encoder_attn.o_proj.weight",
            "model.{encoder,decoder}.layers.{i}.mlp.fc2.weight",
        ),
        shortcuts=(f"{_DETR_STAGE}.1.layers.0.shortcut.convolution.weight",),
        readouts=("class_labels_classifier.weight", "bbox_predictor.layers.2.weight"),
        special={
            "model.backbone.model.embedder.embedder.convolution.weight": "frozen",
            f"{_DETR_STAGE}.{{i}}.layers.0.layer.{{i}}.convolution.weight": "frozen",
            f"{_DETR_STAGE}.1.layers.0.shortcut.convolution.weight": "frozen",
        },
        undecided={"model.query_position_embeddings.weight": "a table that is used whole"},
    ),
    Architecture(
        name="CLIP",
        package="transformers",
        # Both towers end in a projection, a norm and a matrix product with each other.
        factory=from_transformers(
            "CLIPModel",
            "CLIPConfig",
            text_config=_TEXT_TOWER,
            vision_config=_IMAGE_TOWER,
            projection_dim=8,
        ),
        batch=_pair,
        writers=(
            "{text,vision}_model.encoder.layers.{i}.self_attn.out_proj.weight",
            "{text,vision}_model.encoder.layers.{i}.mlp.fc2.weight",
        ),
        readouts=("{text,visual}_projection.weight",),
        embeddings=(
            "text_model.embeddings.{token,position}_embedding.weight",
            "vision_model.embeddings.position_embedding.weight",
        ),
        special={
            "logit_scale": "log of a temperature",
            "vision_model.embeddings.class_embedding": "class token",
        },
    ),
    Architecture(
        name="SigLIP",
        package="transformers",
        # The image tower ends in attention of one learned probe (packed weights), whose output
        # begins a stream of its own with one mlp.
        factory=from_transformers(
            "SiglipModel", "SiglipConfig", text_config=_TEXT_TOWER, vision_config=_IMAGE_TOWER
        ),
        batch=_pair,
        writers=(
            "{text,vision}_model.encoder.layers.{i}.self_attn.out_proj.weight",
            "{text,vision}_model.encoder.layers.{i}.mlp.fc2.weight",
            "vision_model.head.mlp.fc2.weight",
        ),
        readouts=("text_model.head.weight",),
        embeddings=(
            "text_model.embeddings.{token,position}_embedding.weight",
            "vision_model.embeddings.position_embedding.weight",
        ),
        special={
            "{logit_scale,logit_bias}": "log of a temperature, and a bias",
            "vision_model.head.probe": "the query of the pooling attention",
        },
    ),
)
