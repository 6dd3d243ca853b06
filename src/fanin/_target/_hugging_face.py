"""Models of transformers: from a model type, a class, or a config.json, never from a hub."""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from fanin._errors import FaninError, nearest
from fanin._target._draw import float_type, floats
from fanin._target._python import must_import, raised

__all__ = ["batch_for", "build", "is_hugging_face"]

HEADS: Final = (
    "MODEL_FOR_PRETRAINING_MAPPING",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_MAPPING",
)
"""Where the class for a configuration is looked up: first what is trained from random weights."""


def build(name: str, values: Mapping[str, Any], *, meta: bool) -> tuple[nn.Module, str]:
    """The model of a configuration, with random weights, and in words how it was made.

    Raises:
        FaninError: where transformers is not installed or does not know the name, for a setting
            that the configuration does not have, and for a model that memory cannot hold.
    """
    transformers = must_import("transformers", option="hf:")
    spec = f"hf:{name}"
    try:
        made, known = _known(transformers, name, spec)
        _check_settings(made, values, spec)
        config = _config(transformers, known, values)
        model_class = _class_for(transformers, name, config, spec)
        if not meta:
            _check_memory(model_class, config, spec)
        return model_class._from_config(config), f"{model_class.__name__} of transformers"  # noqa: SLF001 - what the Auto classes call
    except FaninError:
        raise
    except Exception as error:
        raise raised(error, f"transformers could not make {name}", spec) from error


def _known(transformers: Any, name: str, spec: str) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """The configuration that ``name`` stands for as it is, and its values as a dictionary."""
    found = _class_named(transformers, name)
    if found is not None:
        config = found.config_class()
        return config, {"model_type": config.model_type}
    if name in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
        return transformers.AutoConfig.for_model(name), {"model_type": name}
    if not Path(name).exists():
        raise _unknown(transformers, name, spec)
    stored, _ = transformers.PreTrainedConfig.get_config_dict(name, local_files_only=True)
    if "model_type" not in stored or "auto_map" in stored:
        raise FaninError(
            "this configuration needs code that transformers does not have",
            where=spec,
            found="auto_map" if "auto_map" in stored else "no model_type",
            fix="name a function of your own that makes the model",
        )
    return _config(transformers, stored, {}), stored


def _class_named(transformers: Any, name: str) -> Any:  # noqa: ANN401 - a class without types here
    """The model class of this name, or None."""
    found: Any = getattr(transformers, name, None) if name.isidentifier() else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model and getattr(found, "config_class", None) else None


def _unknown(transformers: Any, name: str, spec: str) -> FaninError:  # noqa: ANN401
    if "/" in name or name.endswith(".json"):
        return FaninError(
            "there is no such file, and nothing is downloaded",
            where=spec,
            found=f"{name}, seen from {Path.cwd()}",
            fix="name a config.json, its directory, or a model type such as hf:gpt2",
        )
    types = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    return FaninError(
        "transformers has no such model type",
        where=spec,
        found=f"{len(types)} others in transformers {transformers.__version__}",
        fix=f"name one that it has: {nearest(name, types)}",
    )


def _check_settings(config: Any, values: Mapping[str, Any], spec: str) -> None:  # noqa: ANN401
    """transformers keeps what it does not know; a misspelled setting is an error here."""
    for name in values:
        found = config
        for part in name.split("."):
            if not hasattr(found, part):
                raise FaninError(
                    f"{type(found).__name__} has no {part!r}",
                    where=f"{spec} --set {name}",
                    found=name,
                    fix=f"name a setting that it has: {nearest(part, found.to_dict())}",
                )
            found = getattr(found, part)


def _config(transformers: Any, stored: Mapping[str, Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The configuration made anew, so that what follows from a setting follows it."""
    merged = dict(stored)
    for name, value in values.items():
        inner = merged
        *outer, last = name.split(".")
        for part in outer:
            inner[part] = dict(inner.get(part) or {})
            inner = inner[part]
        inner[last] = value
    return transformers.AutoConfig.for_model(merged.pop("model_type"), **merged)


def _class_for(transformers: Any, name: str, config: Any, spec: str) -> Any:  # noqa: ANN401
    named = _class_named(transformers, name)
    if named is not None:
        return named
    for architecture in config.architectures or ():
        stored = _class_named(transformers, architecture)
        if stored is not None:
            return stored
    for head in HEADS:
        mapping = getattr(transformers, head, {})
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    raise FaninError(
        "transformers has no model for this configuration",
        where=spec,
        found=type(config).__name__,
        fix="name the class of the model, such as hf:GPT2LMHeadModel",
    )


def _check_memory(model_class: Any, config: Any, spec: str) -> None:  # noqa: ANN401
    """A model that this machine cannot hold is not tried: the system would end the process."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with torch.device("meta"):
        model = model_class._from_config(config)  # noqa: SLF001 - what the Auto classes call
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    if size > memory / 2:
        raise FaninError(
            "this model is too large to be made here",
            where=spec,
            found=f"{size / 2**30:.0f} GiB of weights, {memory / 2**30:.0f} GiB of memory",
            fix="plan it without memory: --meta",
        )


def is_hugging_face(model: nn.Module) -> bool:
    """Whether the model says what it reads as those of transformers do."""
    return hasattr(model, "main_input_name") and hasattr(model, "config")


def batch_for(model: Any) -> dict[str, Tensor] | None:  # noqa: ANN401 - of a package without types
    """Named inputs that fit the model's configuration; None where it does not tell their shape."""
    main, config = model.main_input_name, model.config
    shape = _shape(main, config)
    if main == "input_ids":
        # Without the masks: they only hide padding, and are read where a model has no values.
        batch = {name: one for name, one in model.dummy_inputs.items() if "mask" not in name}
    elif shape is not None:
        batch = {main: floats(main, shape, float_type(model))}
    else:
        return None
    takes = inspect.signature(model.forward).parameters
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
        ids = batch.get("input_ids", torch.zeros(BATCH, 5, dtype=torch.int64))
        batch.setdefault("decoder_input_ids", ids)
    vision = getattr(config, "vision_config", None)
    if "pixel_values" in takes and "pixel_values" not in batch and vision is not None:
        size = _shape("pixel_values", vision)
        if size is not None:
            batch["pixel_values"] = floats("pixel_values", size, float_type(model))
    return {name: _within_vocabulary(tensor, config) for name, tensor in batch.items()}


BATCH: Final = 3
"""As many rows as transformers' dummy inputs have."""


def _shape(name: str, config: Any) -> tuple[int, ...] | None:  # noqa: ANN401
    """The shape of an input of this name, as the configuration has it."""
    if name == "pixel_values" and hasattr(config, "image_size"):
        size = config.image_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return BATCH, getattr(config, "num_channels", 3), height, width
    if name == "pixel_values" and hasattr(config, "num_channels"):
        return BATCH, config.num_channels, 224, 224  # nets that take images of any size
    if name == "input_features" and hasattr(config, "num_mel_bins"):
        frames = 2 * getattr(config, "max_source_positions", 500)
        return BATCH, config.num_mel_bins, frames
    if name == "input_values" and hasattr(config, "conv_kernel"):
        return BATCH, 16000  # a second of sound
    return None


def _within_vocabulary(tensor: Tensor, config: Any) -> Tensor:  # noqa: ANN401
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = getattr(text, "vocab_size", None)
    return tensor if size is None or tensor.is_floating_point() else tensor % size
