"""What an audit measured: plain records of numbers and names, nothing of torch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

__all__ = [
    "Finding",
    "Given",
    "Growth",
    "Loss",
    "ParameterState",
    "Place",
    "Prediction",
    "Severity",
    "Signal",
    "Spectrum",
]

Severity: TypeAlias = Literal["note", "warning", "error"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """The statistics of one tensor of the run, over the batch; None for what could not be measured.

    ``position_correlation`` is that of two positions of one input, for ``[batch, positions,
    features]``.

    >>> Signal(second_moment=0.25, size=64).std
    0.5
    """

    second_moment: float
    """E x^2."""
    size: int
    """Entries per input of the batch."""
    variance: float | None = None
    """E (x - mean over the batch)^2: what tells one input from another."""
    correlation: float | None = None
    """The mean cosine of two different inputs, weighted by their lengths."""
    position_correlation: float | None = None
    gradient: float | None = None
    """E (dL/dx)^2, per entry, of the mean loss."""
    finite: float = 1.0
    """The share of entries that are finite; the moments are of these."""

    @property
    def std(self) -> float:
        """The square root of E x^2."""
        return float(self.second_moment**0.5)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One operation that ran, and what came out of it; places are numbered in the order of the run.

    ``inputs`` are the places whose outputs it took. ``weight`` is the canonical name of the
    parameter that multiplied here, and ``depth`` how many weights are on the longest way to here.
    ``stream``: the number of the residual stream of which this is a sum.
    ``dead`` is the share of units that are the same for all inputs, or on the flat side of a smooth
    activation for all of them; ``saturated`` the share of entries of a bounded activation (tanh,
    sigmoid) at which its slope is under a twentieth of the largest; both for activations only.
    ``entropy`` is that of attention, as a part of what uniform attention has.
    ``stochastic``: a factor that was drawn in the run multiplies here, as in stochastic depth.
    """

    index: int
    name: str
    """The module's path, and the operation where the module is more than that."""
    operation: str
    kind: str
    module: str
    shape: tuple[int, ...]
    depth: int
    signal: Signal
    inputs: tuple[int, ...] = ()
    weight: str = ""
    stream: int | None = None
    dead: float | None = None
    samples: int = 0
    """On how many numbers each unit was seen, where ``dead`` is given."""
    saturated: float | None = None
    entropy: float | None = None
    stochastic: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterState:
    """One parameter as it stands: its values, its gradient, one step of the optimizer ahead.

    ``update`` is rms(step) / rms(values) of the first step of the optimizer that was asked for.
    ``same_as`` names another parameter of equal values that is not tied to it.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    mean: float
    second_moment: float
    gradient: float | None = None
    """E g^2; None where no gradient arrived."""
    update: float | None = None
    finite: float = 1.0
    zeros: float = 0.0
    """The share of entries that are zero."""
    same_as: str = ""
    padding: float | None = None
    """E x^2 of the row ``padding_idx`` of an embedding; None where there is none."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss that was run backward, and what a model that knows nothing would have.

    ``uninformed`` is None where that is not known. ``said`` tells what the loss is and where it
    comes from: given, the model's own, inferred, or a random direction in place of a loss.
    """

    value: float
    said: str
    uninformed: float | None = None
    output_std: float | None = None
    classes: int | None = None
    observed: float | None = None
    """What the operation that ``uninformed`` is of gave, per element: of a sum, or of a part."""
    target_mean: float | None = None
    """Of a squared error."""
    is_spread: bool = False
    """Whether output and target were both repeated, as (32, 1) and (32,) are to (32, 32)."""
    is_loss: bool = True
    """False for a direction of the output: what it does not reach need not learn."""
    failed: str = ""
    """What the backward pass stopped with."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the model was given: the tensors of numbers in the batch, and the target.

    >>> Given(second_moment=1e6).std
    1000.0
    """

    second_moment: float | None = None
    """E x^2 of the largest tensor; None for a batch of whole numbers."""
    batch_finite: float = 1.0
    """The share of its entries that are finite, or a mask of -inf."""
    target_finite: float = 1.0

    @property
    def std(self) -> float | None:
        """The square root of E x^2."""
        return None if self.second_moment is None else float(self.second_moment**0.5)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How E x^2 (forward) or the squared gradient of one input (backward) grows by layer.

    ``per_layer`` is a robust fit over ``names`` in the order of the run, ``interval`` what one draw
    of a start with the factor 1 gives in 99 of 100 cases at these widths, and ``total`` last over
    first (forward) or first over last (backward).
    ``kind``: a run of weights without norm, sum or gate; or the sums of a residual stream.
    """

    direction: Literal["forward", "backward"]
    kind: Literal["plain", "residual"]
    names: tuple[str, ...]
    per_layer: float
    interval: tuple[float, float]
    total: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Singular values of the Jacobian of the hidden layers, from place ``first`` to ``last``.

    ``values``, largest first, are all of them where they were computed exactly; else the extremes
    that were found. ``mean_square`` is their mean square, with ``error`` its standard error.
    """

    first: str
    last: str
    exact: bool
    values: tuple[float, ...]
    mean_square: float
    error: float = 0.0
    inputs: int = 1
    """On how many inputs of the batch."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What mean field theory says of one place: E x^2, and the squared gradient beside the last."""

    index: int
    second_moment: float
    gradient: float | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a start, at the first place at fault.

    ``code`` names the kind, as in the reference of findings. ``measured`` and ``expected`` are
    texts with units. ``reason`` is one sentence, ``remedy`` code that can be pasted: it names
    ``model`` and ``batch``. ``also`` are other places with the same trouble.

    >>> import fanin, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    >>> _ = fanin.initialize(net, torch.randn(16, 8), seed=0)
    >>> _ = torch.nn.init.constant_(net[0].weight, torch.nan)
    >>> found = fanin.audit(net, torch.randn(16, 8)).findings[0]
    >>> found.code, found.severity, found.where
    ('not-finite', 'error', '0.weight')
    """

    code: str
    severity: Severity
    where: str
    measured: str
    expected: str
    reason: str
    remedy: str
    place: int | None = None
    also: tuple[str, ...] = ()
