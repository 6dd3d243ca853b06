"""What is known of our own nets, in nets_by_hand.py and recurrent_nets.py."""

from tests.zoo import nets_by_hand as nets
from tests.zoo import recurrent_nets as recurrent
from tests.zoo.record import Architecture, Batch, floats, tokens

__all__ = ["ARCHITECTURES"]


def _rows() -> Batch:
    return floats(5, 6)


def _sequence() -> Batch:
    return floats(4, 5, 6)


_FLOW = {
    "shifts.{i}.2.weight": "writes into the stream that is the output",
}

ARCHITECTURES = (
    Architecture(
        name="character LSTM",
        package="torch",
        factory=recurrent.CharLSTM,
        batch=lambda: tokens(2, 7, below=20),
        readouts=("head.weight",),
        embeddings=("embed.weight",),
    ),
    Architecture(
        name="GRU, both ways",
        package="torch",
        factory=recurrent.TwoWayGRU,
        batch=_sequence,
        readouts=("head.weight",),
    ),
    Architecture(
        name="stacked cells",
        package="torch",
        factory=recurrent.StackedCells,
        batch=_sequence,
        readouts=("head.weight",),
    ),
    Architecture(
        name="LSTM by hand",
        package="torch",
        # The cell keeps a factor of itself, but what is added ends in tanh.
        factory=recurrent.LSTMByHand,
        batch=_sequence,
        readouts=("head.weight",),
        undecided={"weight_{input,hidden}": "four gates packed in one weight"},
    ),
    Architecture(
        name="linear recurrence",
        package="torch",
        # a h + W x_t is linear, but W x_t does not read h: a sum over time, not a residual.
        factory=recurrent.LinearRecurrence,
        batch=_sequence,
        readouts=("head.weight",),
        special={"decay": "constant"},
    ),
    Architecture(
        name="SIREN",
        package="torch",
        factory=nets.Siren,
        batch=lambda: floats(7, 2),
        readouts=("weights.2",),
    ),
    Architecture(
        name="mixer with einsum",
        package="torch",
        factory=nets.EinsumMixer,
        batch=_sequence,
        writers=("{tokens,channels}_down",),
        readouts=("head.weight",),
    ),
    Architecture(
        name="experts with einsum",
        package="torch",
        # Weights are (experts, in, out). The routing weights are a factor of the last einsum.
        factory=nets.EinsumExperts,
        batch=_rows,
        writers=("blocks.{i}.down",),
        readouts=("head.weight",),
    ),
    Architecture(
        name="functional",
        package="torch",
        # baddbmm and addmm add the stream inside the product.
        factory=nets.Functional,
        batch=_rows,
        writers=("down", "second", "batched", "added"),
        readouts=("out",),
    ),
    Architecture(
        name="tied autoencoder",
        package="torch",
        factory=nets.TiedAutoencoder,
        batch=lambda: floats(5, 12),
        readouts=("weight",),
    ),
    Architecture(
        name="siamese",
        package="torch",
        # f(a) - f(b) is a difference of two runs of one weight.
        factory=nets.Siamese,
        batch=lambda: (floats(5, 6), floats(5, 6, seed=1)),
        readouts=("head.weight",),
    ),
    Architecture(
        name="U-Net",
        package="torch",
        factory=nets.UNet,
        batch=lambda: floats(2, 1, 8, 8),
        readouts=("head.weight",),
    ),
    Architecture(
        name="highway",
        package="torch",
        # Both factors come from a sigmoid and h from a relu: nothing linear is added.
        factory=nets.Highway,
        batch=_rows,
        readouts=("head.weight",),
        special={"gates.{i}.bias": "constant: the gate begins nearly closed"},
        undecided={"{gates,transforms}.{i}.weight": "h and its factor, from the same input"},
    ),
    Architecture(
        name="squeeze and excite",
        package="torch",
        factory=nets.SqueezeExcite,
        batch=lambda: floats(2, 3, 6, 6),
        writers=("second.weight",),
        readouts=("head.weight",),
    ),
    Architecture(
        name="ReZero",
        package="torch",
        factory=nets.ReZero,
        batch=_rows,
        writers=("blocks.{i}.2.weight",),
        readouts=("head.weight",),
        special={"alphas.{i}": "zero"},
    ),
    Architecture(
        name="Euler steps",
        package="torch",
        # One weight writes four times.
        factory=nets.EulerSteps,
        batch=_rows,
        writers=("field.2.weight",),
        readouts=("head.weight",),
    ),
    Architecture(
        name="NICE",
        package="torch",
        # [x1, x2] -> [x2 + t(x1), x1]: the halves are one stream, as in reversible nets.
        factory=lambda: nets.Couplings(scaled=False),
        batch=_rows,
        writers=("shifts.{i}.2.weight",),
        undecided=_FLOW,
    ),
    Architecture(
        name="RealNVP",
        package="torch",
        # The stream itself is multiplied by exp(tanh(s(x1))) before t is added: it is not carried
        # on as it is, so nothing writes.
        factory=lambda: nets.Couplings(scaled=True),
        batch=_rows,
        undecided={**_FLOW, "scales.{i}.2.weight": "a factor of the output"},
    ),
    Architecture(
        name="reversible",
        package="torch",
        factory=nets.Reversible,
        batch=_rows,
        writers=("pairs.{i}.{i}.3.weight",),
        readouts=("head.weight",),
    ),
    Architecture(
        name="hypernetwork",
        package="torch",
        # W(z) x + b(z): the weights of the small net are not parameters.
        factory=nets.HyperNetwork,
        batch=lambda: (floats(5, 6), floats(4)),
        readouts=("second_bias.weight",),
        undecided={
            "{first,first_bias}.weight": "its output is a weight or bias: no parameter follows it",
            "second.weight": "its output is the last weight",
        },
    ),
    Architecture(
        name="FiLM",
        package="torch",
        # The block ends in relu: no writer.
        factory=nets.Conditioned,
        batch=lambda: (floats(5, 6), floats(5, 4)),
        readouts=("head.weight",),
        undecided={
            "linear.weight": "multiplied, after a norm, by the condition",
            "condition.weight": "scale and shift of a norm",
        },
    ),
    Architecture(
        name="parametrized",
        package="torch",
        factory=nets.Parametrized,
        batch=lambda: floats(2, 3, 9),
        writers=("second.weight",),
        readouts=("head.weight",),
    ),
    Architecture(
        name="torch's transformer",
        package="torch",
        # Post-norm, and a last attention, not normalized, with separate weights for q, k and v.
        # Layers are copies of one another.
        factory=nets.Translator,
        batch=lambda: (floats(2, 5, 16), floats(2, 4, 16), floats(2, 3, 12), floats(2, 3, 10)),
        writers=(
            "{encoder,decoder}.layers.{i}.{self_attn.out_proj,linear2}.weight",
            "decoder.layers.{i}.multihead_attn.out_proj.weight",
            "look.out_proj.weight",
        ),
        readouts=("head.weight",),
    ),
)
