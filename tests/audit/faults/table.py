"""The faults: each is put into a healthy start, and has one finding, at one place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan, sqrt

import torch
from tests.audit.faults import nets
from tests.audit.faults.nets import Case
from torch import nn

from fanin._audit._records import Severity

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True)
class Fault:
    """What is done to a model that `fanin.initialize` started, and what is then said of it."""

    name: str
    code: str
    where: str
    severity: Severity
    case: Callable[[], Case]
    put: Callable[[nn.Module], object]
    curable: bool = True
    """Whether a start can help; if not, the remedy is advice, and the model is never healthy."""
    loss: bool = True
    """Whether the audit is given the target."""
    plan: bool = True
    """Whether the default plan starts the model, and not its own code."""
    beside: tuple[str, ...] = field(default=())
    """Codes of other findings that this fault truly has, at other places."""


@torch.no_grad()
def scale(model: nn.Module, name: str, factor: float) -> None:
    model.get_parameter(name).mul_(factor)


@torch.no_grad()
def set_to(model: nn.Module, name: str, value: float) -> None:
    model.get_parameter(name).fill_(value)


@torch.no_grad()
def set_entry(model: nn.Module, name: str, value: float) -> None:
    model.get_parameter(name).view(-1)[3] = value


@torch.no_grad()
def copy(model: nn.Module, name: str, source: str) -> None:
    model.get_parameter(name).copy_(model.get_parameter(source))


def by_torch(model: nn.Module) -> None:
    """torch's own start."""
    torch.manual_seed(1)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@torch.no_grad()
def of_gain(model: nn.Module, gain: float, *, fan: str = "fan_in") -> None:
    """gain / sqrt(fan) for every matrix, by the fan that torch reads off the shape; biases 0."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            inside, outside = nn.init._calculate_fan_in_and_fan_out(module.weight)
            module.weight.normal_(0, gain / sqrt(inside if fan == "fan_in" else outside))
            if module.bias is not None:
                module.bias.zero_()


@torch.no_grad()
def all_biases(model: nn.Module, value: float) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and not name.startswith("60"):
            parameter.fill_(value)


@torch.no_grad()
def kaiming_transposed(model: nn.Module) -> None:
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


@torch.no_grad()
def fan_out_depthwise(model: nn.Module) -> None:
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="linear")


@torch.no_grad()
def gelu(model: nn.Module) -> None:
    """Gain sqrt 2 everywhere but at the inputs, which pass no activation."""
    of_gain(model, sqrt(2))
    scale(model, "0.weight", sqrt(0.5))


@torch.no_grad()
def he_residual(model: nn.Module) -> None:
    of_gain(model, sqrt(2))


def freeze(model: nn.Module, name: str, value: float) -> None:
    set_to(model, name, value)
    model.get_parameter(name).requires_grad_(False)


def unit_table(model: nn.Module) -> None:
    torch.manual_seed(1)
    nn.init.normal_(model.get_parameter("tokens.weight"))


def closed(model: nn.Module) -> None:
    set_to(model, "blocks.1.down.weight", 0)
    set_to(model, "blocks.1.scale", 0)


@torch.no_grad()
def zero_with_biases(model: nn.Module, name: str) -> None:
    """Every layer has a bias, so that what comes of zeros is a number, the same for all inputs."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.bias, -0.1, 0.1)
    set_to(model, f"{name}.weight", 0)


@torch.no_grad()
def same_std(model: nn.Module, std: float) -> None:
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, std)


@torch.no_grad()
def one_of_small(model: nn.Module) -> None:
    """As GPT-2 draws: the default plan's draw of one layer would be the odd one."""
    same_std(model, 0.02)
    nn.init.normal_(model.get_parameter("tokens.weight"), 0, 0.02)
    scale(model, "blocks.2.up.weight", 30)


@torch.no_grad()
def closed_adapters(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith(("a.weight", "b.weight")):
            parameter.zero_()


class Gelu(nn.Module):
    """By tanh, written out as some models do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


def deep(activation: Callable[[], nn.Module], depth: int) -> Callable[[], Case]:
    return lambda: nets.plain(depth, activation)


six = deep(nn.ReLU, 6)
text = nets.language_model

FAULTS = (
    Fault("one layer x10", "outlier-layer", "6", "warning",
          six, lambda m: scale(m, "6.weight", 10)),
    Fault("first layer x10", "outlier-layer", "0", "warning",
          six, lambda m: scale(m, "0.weight", 10)),
    Fault("one layer /10", "outlier-layer", "6", "warning",
          six, lambda m: scale(m, "6.weight", 0.1)),
    Fault("one layer x10 in a transformer", "outlier-layer", "blocks.2.up", "warning",
          text, lambda m: scale(m, "blocks.2.up.weight", 10)),
    Fault("one residual writer x10", "outlier-layer", "blocks.2.down", "warning",
          text, lambda m: scale(m, "blocks.2.down.weight", 10)),
    Fault("a zero layer", "zero-weight", "6", "error", six, lambda m: set_to(m, "6.weight", 0)),
    Fault("a zero first layer", "zero-weight", "0", "warning",
          six, lambda m: zero_with_biases(m, "0")),
    Fault("a zero layer among biases", "zero-weight", "6", "error",
          six, lambda m: zero_with_biases(m, "6")),
    Fault("a zero table", "zero-weight", "tokens", "warning",
          text, lambda m: set_to(m, "tokens.weight", 0)),
    Fault("a constant layer", "equal-units", "6.weight", "error",
          six, lambda m: set_to(m, "6.weight", 0.1)),
    Fault("dead ReLU by its bias", "dead-units", "4", "error",
          six, lambda m: set_to(m, "4.bias", -20)),
    Fault("half-dead ReLU by its bias", "dead-units", "2", "warning",
          deep(nn.ReLU, 3), lambda m: set_to(m, "2.bias", -3)),
    *(
        Fault(f"dead {kind.__name__} by its bias", "dead-units", "2", "error",
              deep(kind, 3), lambda m: set_to(m, "2.bias", -20))
        for kind in (nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.ELU, nn.SELU, nn.CELU)
    ),
    *(
        Fault(f"dead {kind.__name__} in place by its bias", "dead-units", "2", "error",
              deep(lambda kind=kind: kind(inplace=True), 3), lambda m: set_to(m, "2.bias", -20))
        for kind in (nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU)
    ),
    Fault("three dead ReLU layers by their biases", "dead-units", "0", "error",
          six, lambda m: [set_to(m, f"{k}.bias", -20) for k in (0, 4, 8)]),
    Fault("saturated softsign", "saturated-units", "4", "error",
          deep(nn.Softsign, 4), lambda m: set_to(m, "4.bias", 20)),
    Fault("all of softsign saturated", "saturated-units", "0", "error",
          deep(nn.Softsign, 4), lambda m: [scale(m, f"{k}.weight", 30) for k in (0, 2, 4, 6)]),
    Fault("a shift of -20 behind batch norm", "outlier-layer", "5.bias", "warning",
          lambda: nets.plain_norm(4), lambda m: set_to(m, "5.bias", -20)),
    Fault("a scale of 30 of the last norm", "outlier-layer", "norm.weight", "warning",
          lambda: nets.residual(4, norm=True), lambda m: set_to(m, "norm.weight", 30)),
    Fault("a bias of 20 in the middle of a branch", "outlier-layer", "blocks.1.up", "warning",
          text, lambda m: set_to(m, "blocks.1.up.bias", 20)),
    Fault("a GELU of several operations, dead by its bias", "saturated-units", "2", "error",
          deep(Gelu, 3), lambda m: set_to(m, "2.bias", -20)),
    Fault("a bias of 20 before a ReLU", "outlier-layer", "2", "warning",
          deep(nn.ReLU, 2), lambda m: set_to(m, "2.bias", 20)),
    Fault("every weight of std 1", "exploding-signal", "0", "error",
          lambda: nets.plain(4, width=256), lambda m: same_std(m, 1.0)),
    Fault("every weight of std 0.001", "vanishing-signal", "0", "error",
          lambda: nets.plain(4, width=256), lambda m: same_std(m, 0.001)),
    Fault("one of eight blocks of std 0.02, x30", "outlier-layer", "blocks.2.up", "warning",
          lambda: text(8), one_of_small),
    Fault("positions x5000", "drowned-branches", "positions", "warning",
          nets.positioned, lambda m: scale(m, "positions", 5000)),
    Fault("adapters of two zeros", "closed-branch", "0.a.weight", "error",
          nets.adapted, closed_adapters),
    Fault("saturated tanh", "outlier-layer", "4", "warning",
          deep(nn.Tanh, 4), lambda m: scale(m, "4.weight", 10)),
    Fault("all of tanh saturated", "saturated-units", "0", "warning",
          deep(nn.Tanh, 4), lambda m: [scale(m, f"{k}.weight", 30) for k in (0, 2, 4, 6)]),
    Fault("wrong fan on transposed convolutions", "wrong-fan", "2", "warning",
          nets.decoder, kaiming_transposed),
    Fault("wrong fan on transposed convolutions of as many channels", "wrong-fan", "0", "warning",
          nets.upscaler, kaiming_transposed, loss=False),
    Fault("fan_out of groups on depthwise convolutions", "wrong-fan", "2", "warning",
          lambda: nets.plain_conv(3), fan_out_depthwise),
    Fault("identical clones", "identical-layers", "6.weight", "warning",
          six, lambda m: copy(m, "6.weight", "4.weight")),
    Fault("never drawn, huge", "undrawn-parameter", "6.weight", "error",
          six, lambda m: scale(m, "6.weight", 1e18)),
    Fault("never drawn, denormal", "undrawn-parameter", "6.weight", "error",
          six, lambda m: scale(m, "6.weight", 1e-37)),
    Fault("T5-like readout of std 1", "outlier-layer", "head", "warning",
          text, lambda m: nn.init.normal_(m.head.weight)),
    Fault("tied table of std 1", "initial-loss", "tokens #2", "error",
          lambda: text(tied=True), unit_table),
    Fault("tied table of std 1, no loss", "large-logits", "tokens #2", "warning",
          lambda: text(tied=True), unit_table, loss=False),
    Fault("He on 32 residual blocks", "exploding-stream", "blocks.0 add", "error",
          lambda: nets.residual(32, norm=False), he_residual),
    Fault("unscaled writers in 100 blocks", "exploding-stream", "blocks.0 add", "error",
          lambda: nets.residual(100, norm=False), lambda m: of_gain(m, 1.0)),
    Fault("torch at 30 plain layers", "vanishing-signal", "0", "error",
          deep(nn.ReLU, 30), by_torch),
    Fault("torch at 4 plain layers is noted", "vanishing-signal", "0", "note",
          deep(nn.ReLU, 3), by_torch),
    Fault("GELU at sqrt 2, 50 layers", "vanishing-signal", "0", "error",
          lambda: nets.plain(50, nn.GELU, width=256), gelu),
    Fault("ReLU at gain 2, 30 layers", "exploding-signal", "0", "error",
          deep(nn.ReLU, 30), lambda m: of_gain(m, 2.0)),
    Fault("sigmoid of kept E y2", "collapsed-inputs", "0", "error",
          deep(nn.Sigmoid, 20), lambda m: of_gain(m, 1.846228545)),
    Fault("sigmoid by torch's gain", "collapsed-inputs", "0", "error",
          deep(nn.Sigmoid, 8), lambda m: of_gain(m, 1.0)),
    Fault("tanh of gain 5/3, 100 layers", "exploding-gradient", "2", "error",
          deep(nn.Tanh, 100), lambda m: of_gain(m, 5 / 3)),
    Fault("SELU of torch's gain, 60 layers, is noted", "vanishing-signal", "0", "note",
          deep(nn.SELU, 60), lambda m: of_gain(m, 0.75)),
    Fault("attention without paths around it", "rank-collapse",
          "blocks.0.attention", "error",
          lambda: text(8, skip=False), lambda m: None, curable=False),
    Fault("50 layers of linear, batch norm, ReLU", "exploding-gradient", "1", "error",
          lambda: nets.plain_norm(50), lambda m: None, curable=False),
    Fault("one query x60", "one-hot-attention", "blocks.1.attention.query", "warning",
          text, lambda m: scale(m, "blocks.1.attention.query.weight", 60)),
    Fault("table x100", "drowned-branches", "tokens", "warning",
          text, lambda m: scale(m, "tokens.weight", 100)),
    Fault("a frozen norm", "frozen-parameter", "blocks.1.norm1.weight", "note",
          text, lambda m: freeze(m, "blocks.1.norm1.weight", 1)),
    Fault("a norm of scale zero", "zero-norm", "norm.weight", "error",
          lambda: nets.residual(4, norm=True), lambda m: set_to(m, "norm.weight", 0)),
    Fault("a NaN", "not-finite", "6.weight", "error", six, lambda m: set_entry(m, "6.weight", nan)),
    Fault("an infinity", "not-finite", "6.bias", "error",
          six, lambda m: set_entry(m, "6.bias", inf)),
    Fault("a padding row that was drawn", "padding-row", "tokens.weight", "warning",
          lambda: text(padding=0), unit_table),
    Fault("a closed branch", "closed-branch", "blocks.1.down.weight", "error",
          lambda: nets.residual(4, norm=True, scale=0.1), closed),
    Fault("LSTM of huge recurrent weights", "saturated-gates", "lstm.weight_hh_l0", "warning",
          nets.lstm, lambda m: scale(m, "lstm.weight_hh_l0", 30)),
    Fault("LayerScale of 1000", "dominant-branch", "blocks.2.scale", "warning",
          lambda: nets.residual(6, norm=True, scale=0.1),
          lambda m: set_to(m, "blocks.2.scale", 1e3)),
    Fault("a normalized layer x1000", "small-update", "1.weight", "warning",
          lambda: nets.plain_norm(4), lambda m: scale(m, "1.weight", 1000)),
    Fault("a normalized layer /200", "large-update", "1.weight", "warning",
          lambda: nets.plain_norm(4), lambda m: scale(m, "1.weight", 0.005)),
    Fault("GRU of biases of 20", "saturated-gates", "gru.bias_ih_l0", "warning",
          nets.gru, lambda m: set_to(m, "gru.bias_ih_l0", 20)),
    Fault("a zero layer inside of a GRU", "zero-weight", "gru.weight_ih_l1", "warning",
          nets.gru, lambda m: set_to(m, "gru.weight_ih_l1", 0)),
    Fault("a zero layer before dropout", "zero-weight", "0", "warning",
          deep(lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.5)), 3),
          lambda m: zero_with_biases(m, "0")),
    Fault("a frozen layer x10", "outlier-layer", "6", "warning",
          nets.frozen, lambda m: scale(m, "6.weight", 10)),
    Fault("a frozen writer x10", "outlier-layer", "blocks.2.down", "warning",
          nets.pretrained_text, lambda m: scale(m, "blocks.2.down.weight", 10)),
    Fault("a tied table of zeros", "zero-weight", "tokens", "error",
          lambda: text(tied=True), lambda m: set_to(m, "tokens.weight", 0)),
    Fault("a tied table x100", "initial-loss", "tokens #2", "error",
          lambda: text(tied=True), lambda m: scale(m, "tokens.weight", 100),
          beside=("small-update",)),
    Fault("two tables that are multiplied, one x30", "initial-loss", "item", "error",
          nets.factorization, lambda m: scale(m, "item.weight", 30), plan=False),
    Fault("tables of std 1 that are multiplied", "initial-loss", "user", "warning",
          nets.factorization,
          lambda m: [scale(m, "user.weight", 2.2), scale(m, "item.weight", 2)], plan=False),
    Fault("a table of biases x100", "initial-loss", "user_bias", "error",
          lambda: nets.factorization(biases=True), lambda m: scale(m, "user_bias.weight", 100),
          plan=False),
    Fault("a factorization machine of std 1", "initial-loss", "factors", "error",
          nets.machine, lambda m: scale(m, "factors.weight", 5), plan=False),
    Fault("a log-variance x5", "initial-loss", "log_variance", "warning",
          nets.variational, lambda m: scale(m, "log_variance.weight", 5)),
    Fault("a log-variance that starts at 7", "initial-loss", "log_variance", "warning",
          nets.variational, lambda m: set_to(m, "log_variance.bias", 7)),
    Fault("a layer before a log-variance x5", "initial-loss", "body.0", "warning",
          nets.variational, lambda m: scale(m, "body.0.weight", 5)),
    Fault("an unused layer", "unused-parameter", "blocks.0.up.weight", "note",
          lambda: text(1, skip=False), lambda m: None, curable=False),
    Fault("steps below bfloat16", "lost-update", "tokens.weight", "note",
          text, lambda m: m.to(torch.bfloat16)),
)  # fmt: skip
