"""What is known about one parameter: the record that a recipe sees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from torch import Tensor

from fanin._gains import Gated
from fanin._layout import Layout

__all__ = ["Residual", "Site", "SiteActivation", "SiteRole"]

SiteRole = Literal[
    "weight",
    "residual_out",
    "shortcut",
    "embedding",
    "readout",
    "query",
    "key",
    "value",
    "query_key_value",
    "key_value",
    "gate",
    "gate_value",
    "gated",
    "router",
    "recurrent",
    "projection",
    "bias",
    "norm_scale",
    "norm_shift",
    "slope",
    "branch_scale",
    "elementwise",
    "buffer",
]

SiteActivation: TypeAlias = str | Callable[[Tensor], Tensor] | Gated
"""A name that `fanin.gain` knows, or the function itself, found in the run."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Where a weight writes into a residual stream: ``x <- x + branch(x)``.

    ``stream`` numbers the streams of the model in the order of their first sums; ``index`` is the
    branch's place in its stream, from 1, and ``count`` how many branches write into it.
    ``level`` is 0 for a stream that no other branch contains, 1 for a stream inside a branch of
    such a one, and so on.
    ``norm``: whether the branch reads the stream through a normalization (``"pre"``), the sum is
    normalized before it goes on (``"post"``), or neither (``"none"``).
    ``scaled_by`` names the learned scalars or vectors that multiply the branch (LayerScale,
    SkipInit).

    >>> place = Residual(stream=0, index=2, count=8)
    >>> f"one of {place.count} branches: std / sqrt({place.count})"
    'one of 8 branches: std / sqrt(8)'
    """

    stream: int
    index: int
    count: int
    level: int = 0
    norm: Literal["none", "pre", "post"] = "none"
    scaled_by: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One parameter or buffer: its axes, what it does, and what stands around it.

    A hand-made one is enough to try a recipe; only ``name`` and ``layout`` must be given.

    >>> from fanin import Layout
    >>> Site(name="fc.weight", layout=Layout((10, 64), "out in"), activation="relu").fan_in
    64.0
    """

    name: str
    """Canonical: without the prefixes of wrappers, a parametrized weight by its own name."""
    layout: Layout | None
    """The axes; None where neither the module nor the run tells them."""
    role: SiteRole = "weight"
    module: str = ""
    """The class of the module that owns it."""
    activation: SiteActivation = "identity"
    """What the signal passed between the last weight, sum or norm before this one and this one."""
    activation_after: SiteActivation = "identity"
    """What the output passes before the next weight, sum or norm."""
    normalized_input: bool = False
    """Whether the signal that arrives was normalized, with no weight in between."""
    normalized_output: bool = False
    """Whether the output is normalized before any activation or sum: its std then has no effect."""
    sources: tuple[str, ...] = ()
    """The weights whose outputs arrive here, with no other weight in between."""
    join: Literal["none", "add", "concatenate"] = "none"
    """How several of these outputs became one input."""
    summands: int = 1
    """How many weights' outputs are added to make this one's output, residual sums apart."""
    residual: Residual | None = None
    """Its place in a residual stream, for ``residual_out``, ``shortcut`` and ``branch_scale``."""
    branch: Residual | None = None
    """The innermost residual branch that it is part of, whether it writes or not."""
    depth: int = 0
    """Weights on the longest way from an input to this one, itself counted; 0 if it never ran."""
    plain_depth: int = 0
    """The length of the run of weights around this one without norm, residual sum or gate."""
    uses: int = 1
    """How often it ran in one pass, or each of its parts where they ran one by one; 0: never."""
    ran_in: Literal["evaluation", "training", "never", "like another"] = "evaluation"
    """In which mode it was seen to run; ``like another``: taken from a sibling, see ``like``."""
    like: str = ""
    """The sibling (another expert, a skipped layer) that stands for one that did not run."""
    tied: tuple[str, ...] = ()
    """Other names of the same tensor."""
    other_roles: tuple[SiteRole, ...] = ()
    """What else it does when it is used in several ways (an embedding tied to the readout)."""
    stored: tuple[str, ...] = ()
    """The names of the tensors that are kept in its place, for a parametrized weight."""
    dtype: str = "float32"
    trainable: bool = True
    built: str = ""
    """A start that the model declares: ``zeros``, ``ones``, ``constant 1e-05``, ``identity``,
    ``marked _no_reinit``, ``set apart: ...``; ``not finite``; empty for an ordinary draw, or when
    there are no values to look at (meta)."""

    @property
    def fan_in(self) -> float:
        """Connections per output; an error for a parameter without fans."""
        assert self.layout is not None  # noqa: S101 - rewritten below
        return self.layout.fan_in
