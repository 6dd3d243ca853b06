"""State space models and linear recurrences of transformers."""

from tests.zoo.packages import from_transformers
from tests.zoo.record import Architecture, Batch, tokens

__all__ = ["ARCHITECTURES"]


def _batch() -> Batch:
    return {"input_ids": tokens(2, 7)}


ARCHITECTURES = (
    Architecture(
        name="Mamba",
        package="transformers",
        # Inside the mixer scan(x) + D x is a sum, but no weight stands before it: x_proj gives
        # factors (B, C, the time step), as attention's queries and keys are factors.
        # in_proj packs the scanned half with a gate that multiplies the scan's output.
        factory=from_transformers(
            "MambaForCausalLM",
            "MambaConfig",
            vocab_size=64,
            hidden_size=16,
            state_size=4,
            num_hidden_layers=2,
            time_step_rank=3,
            use_cache=False,
        ),
        batch=_batch,
        writers=("backbone.layers.{i}.mixer.out_proj.weight",),
        readouts=("backbone.embeddings.weight",),
        embeddings=("backbone.embeddings.weight",),
        tied=(("backbone.embeddings.weight", "lm_head.weight"),),
        special={
            "backbone.layers.{i}.mixer.A_log": "log of 1, 2, 3, ...",
            "backbone.layers.{i}.mixer.D": "ones",
            "backbone.layers.{i}.mixer.dt_proj.bias": "inverse softplus of time steps",
        },
        undecided={
            "backbone.layers.{i}.mixer.in_proj.weight": "one half is a gate, of a convolved half",
        },
    ),
    Architecture(
        name="Mamba-2",
        package="transformers",
        # A gated norm stands before out_proj. dt_bias is a parameter of its own.
        factory=from_transformers(
            "Mamba2ForCausalLM",
            "Mamba2Config",
            vocab_size=64,
            hidden_size=16,
            state_size=4,
            num_hidden_layers=2,
            num_heads=4,
            head_dim=8,
            n_groups=2,
            chunk_size=4,
            use_cache=False,
        ),
        batch=_batch,
        writers=("backbone.layers.{i}.mixer.out_proj.weight",),
        readouts=("lm_head.weight",),
        embeddings=("backbone.embeddings.weight",),
        special={
            "backbone.layers.{i}.mixer.A_log": "log of 1, 2, 3, ...",
            "backbone.layers.{i}.mixer.D": "ones",
            "backbone.layers.{i}.mixer.dt_bias": "inverse softplus of time steps",
        },
        undecided={
            "backbone.layers.{i}.mixer.in_proj.weight": "part of it is a gate",
        },
    ),
    Architecture(
        name="RWKV",
        package="transformers",
        # sigmoid(receptance) * value(...) is added to the stream: value writes, receptance is a
        # factor. In attention, output is the last weight. Time mixing is elementwise.
        # rescale_every=0: otherwise the first run in evaluation mode changes the weights.
        factory=from_transformers(
            "RwkvForCausalLM",
            "RwkvConfig",
            vocab_size=64,
            context_length=16,
            hidden_size=16,
            num_hidden_layers=2,
            rescale_every=0,
            use_cache=False,
        ),
        batch=_batch,
        writers=(
            "rwkv.blocks.{i}.attention.output.weight",
            "rwkv.blocks.{i}.feed_forward.value.weight",
        ),
        readouts=("head.weight",),
        embeddings=("rwkv.embeddings.weight",),
        special={
            "rwkv.blocks.{i}.attention.time_{decay,first,mix_key,mix_value,mix_receptance}": (
                "time mixing, by layer and channel"
            ),
            "rwkv.blocks.{i}.feed_forward.time_mix_{key,receptance}": (
                "time mixing, by layer and channel"
            ),
        },
        undecided={
            "rwkv.blocks.{i}.{attention,feed_forward}.receptance.weight": "a gate of another width",
            "rwkv.blocks.{i}.attention.{key,value}.weight": "keys and values of a recurrence",
        },
    ),
)
