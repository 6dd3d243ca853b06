"""Every architecture of the zoo, by name."""

from tests.zoo import (
    adapters,
    audio,
    by_hand,
    decoders,
    diffusion,
    encoders,
    experts,
    graphs,
    medical,
    sequence_to_sequence,
    state_space,
    timm_attention,
    timm_convolutional,
    vision,
    x_transformer_options,
)
from tests.zoo.record import Architecture

__all__ = ["ARCHITECTURES", "FAMILIES"]

FAMILIES: dict[str, tuple[Architecture, ...]] = {
    "language models": decoders.ARCHITECTURES,
    "experts and linear attention": experts.ARCHITECTURES,
    "encoders": encoders.ARCHITECTURES,
    "encoders with decoders": sequence_to_sequence.ARCHITECTURES,
    "state space models and linear recurrences": state_space.ARCHITECTURES,
    "vision": vision.ARCHITECTURES,
    "convolutional networks": timm_convolutional.ARCHITECTURES,
    "vision transformers and mixers": timm_attention.ARCHITECTURES,
    "audio": audio.ARCHITECTURES,
    "diffusion": diffusion.ARCHITECTURES,
    "options of x-transformers": x_transformer_options.ARCHITECTURES,
    "medical images": medical.ARCHITECTURES,
    "graphs": graphs.ARCHITECTURES,
    "adapters": adapters.ARCHITECTURES,
    "our own": by_hand.ARCHITECTURES,
}

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture for family in FAMILIES.values() for architecture in family
}
