"""keras_default: the defaults of Keras' layers, with the fans and gates that they mean."""

from typing import Final

from fanin._site import Site
from fanin.initializers import ForgetGate, Orthogonal, Uniform, Zeros, xavier_uniform
from fanin.recipes._common import NO_RULE, is_matrix, local_name, others
from fanin.recipes._recipe import Choice, Decision, Recipe

__all__ = ["keras_default"]


def _choose(site: Site) -> Decision:
    if site.role == "bias":
        return _bias(site)
    if site.role == "slope":
        return Choice(Zeros, "Keras starts the slope of a PReLU at 0, as a ReLU.")
    if not is_matrix(site.layout):
        return others(site)
    if site.role == "embedding":
        return Choice(Uniform(-0.05, 0.05), "Keras draws tables as U(-0.05, 0.05), of any width.")
    if site.role == "recurrent":
        return Choice(
            Orthogonal(),
            "Keras' recurrent_initializer is orthogonal; here it is so for each gate.",
        )
    return Choice(xavier_uniform(), "Keras' kernel_initializer is glorot_uniform.")


def _bias(site: Site) -> Decision:
    gates = site.layout.blocks if site.layout else ()
    # torch adds two biases: one of them carries the 1.
    second = local_name(site).startswith("bias_hh")
    if any(gate.name == "forget" for gate in gates) and not second:
        return Choice(ForgetGate(1.0), "Keras' unit_forget_bias opens the forget gate.")
    return Choice(Zeros, "Keras starts biases at 0.")


keras_default: Final = Recipe(
    "keras_default",
    _choose,
    "w ~ U(-b, b), b = sqrt(6 / (fan_in + fan_out)); recurrent W = Q; tables U(-0.05, 0.05); "
    "b = 0, forget gates 1",
    no_rule=NO_RULE,
)
