"""The plan of a model's start: for every parameter and buffer what is done, and why."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, final

import torch
from torch import Tensor, nn

from fanin._errors import FaninError, nearest
from fanin._plan import _json
from fanin._plan._calibrate._calibrate import calibrated
from fanin._plan._coverage import Coverage, coverage_of
from fanin._plan._entry import Entry, Factor, by_name, require_mapping, scaled
from fanin._plan._materialize import materialized
from fanin._plan._proof._prove import proven
from fanin._plan._proof._verification import Verification
from fanin._plan._receipt import Receipt
from fanin._plan._rules import RuleKey, RuleValue, replaced
from fanin._plan._stored._read import Checkpoint
from fanin._plan._stored._rest import applied_rest
from fanin._plan._streaming import Filling, fillings, left_out, streamed
from fanin._plan._told._difference import Difference, difference
from fanin._plan._told._explain import explained, explained_all, matching
from fanin._plan._told._html import plan_html
from fanin._plan._told._print import plan_text, plan_title
from fanin._site import Site
from fanin.initializers._base import take_seed

__all__ = ["Plan"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """For every parameter and buffer of a model: its start, and why; decided, not yet drawn.

    A value: it compares with ``==``, prints, saves, and holds no seed and no tensor. `fanin.plan`
    makes one, `replace` changes one, `apply` writes one into a model. ``receipt`` is what
    `fanin.initialize` did; it is no part of the value.

    Raises:
        FaninError: where two entries have one name.

    >>> import fanin
    >>> net = nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 100))
    >>> plan = fanin.plan(net, torch.ones(8, 30), recipe=fanin.recipes.kaiming)
    >>> receipt = plan.apply(net, seed=0)
    >>> print(f"planned {plan['2.weight'].std:.3f}, drawn {net[2].weight.std():.3f}")
    planned 0.100, drawn 0.100
    """

    entries: tuple[Entry, ...]
    recipe: str = ""
    formula: str = ""
    model: str = ""
    mode: str = ""
    batch: str = ""
    receipt: Receipt | None = field(default=None, compare=False)
    _by_name: Mapping[str, Entry] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", by_name(self.entries))

    def __getitem__(self, name: str) -> Entry:
        """The entry of this name, of a tied name, or of a name under which its parts are stored."""
        if name in self._by_name:
            return self._by_name[name]
        raise FaninError(
            "there is no such parameter in the plan",
            where="plan[...]",
            found=repr(name),
            fix=f"use one of: {nearest(str(name), self._by_name)}",
        )

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def unclaimed(self) -> tuple[Entry, ...]:
        """The entries that nobody claims; `apply` refuses them."""
        return tuple(entry for entry in self.entries if entry.state == "unclaimed")

    @property
    def left_out(self) -> tuple[Entry, ...]:
        """What `stream` and `param_init` do not give: kept, unclaimed, and parametrized ones."""
        return left_out(self.entries)

    def coverage(self) -> Coverage:
        """Which tensors are filled, kept and unclaimed, for a test or CI.

        >>> Plan(()).coverage().ok
        True
        """
        return coverage_of(self.entries)

    def replace(self, rules: Mapping[RuleKey, RuleValue]) -> "Plan":
        """This plan with other starts where ``rules`` say so; a rule goes before everything else.

        A key is a glob on names (``"*.down.weight"``; ``*`` crosses dots), which also finds other
        names of a tied tensor and the names under which a parametrized one is stored;
        ``"role:residual_out"``; or a function of a `Site`. A buffer is found by its full name
        only. A value is an initializer or what stands for one (a number, a name, a function), a
        `Choice`, or ``Keep("why")``. Of several keys that match, the first in the mapping wins.

        Raises:
            FaninError: for a key that matches nothing or only what earlier keys took, an unknown
                role, a start that does not fit the parameter, and rules that disagree about one
                tensor by its different names.

        >>> import fanin
        >>> net = nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 100))
        >>> plan = fanin.plan(net, torch.ones(8, 30), recipe=fanin.recipes.kaiming)
        >>> changed = plan.replace({"role:readout": 0, "0.*": fanin.recipes.Keep("loaded")})
        >>> print(changed.coverage())
        4 tensors: 2 filled, 2 kept, 0 unclaimed
        """
        return replace(self, entries=replaced(self.entries, rules), receipt=None)

    def apply(
        self,
        model: nn.Module,
        *,
        seed: int | None = None,
        allow_unclaimed: bool = False,
        missing_from: Checkpoint | None = None,
        allow_unexpected: bool = False,
    ) -> Receipt:
        """Each filled tensor of ``model`` becomes its draw for (seed, name), in place, once.

        Everything is looked at first: names, shapes, ties, memory, dtypes; code of the user's is
        run beside the model. Then the numbers are written, and verified: finite, of the planned
        std within sampling error, kept tensors untouched. Gradients, ``requires_grad`` and random
        generators stay as they are; without a ``seed`` one number is taken from torch's.
        On the meta device nothing is drawn, and the receipt says so.

        ``missing_from``: a state dict, or the path of a checkpoint. What it has is copied, kept
        tensors too, and only the rest is drawn; of an embedding or readout that has fewer rows
        there, the new rows. Names that the model does not have are an error, or listed on the
        receipt with ``allow_unexpected``.

        Raises:
            FaninError: for another model than planned, what cannot be written, what is not yet
                calibrated, unclaimed tensors unless ``allow_unclaimed``, and other shapes or kinds
                of numbers in a checkpoint; nothing is written then. Also where the verification
                fails, which names the tensor.
        """
        return applied_rest(
            self.entries,
            model,
            missing_from,
            seed=seed,
            allow_unclaimed=allow_unclaimed,
            allow_unexpected=allow_unexpected,
            plan=self.checksum,
        )

    def materialize(
        self,
        model: nn.Module,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        allow_unclaimed: bool = False,
        part: bool = False,
        names: Mapping[str, str] | None = None,
        missing_from: Checkpoint | None = None,
        allow_unexpected: bool = False,
    ) -> Receipt:
        """Each tensor of ``model`` without memory gets it, and each filled one its draw.

        For models on the meta device, and for sharded ones (``fully_shard``,
        ``parallelize_module``, ``distribute_tensor``), with or without memory. A process draws
        only what it holds, without communication; fans are those of the whole. Gathered, the
        weights are those of `apply` with this ``seed``, bit for bit, orthogonal ones to 1e-6.
        Ties are restored. ``dtype`` is for parameters that get memory here; buffers keep theirs.
        Tensors that have memory stay the same objects. Kept tensors that the plan saw no values of
        come from their modules' ``reset_parameters`` or ``reset_running_stats``, run on a twin;
        what nobody knows is an error, or NaN and ``unclaimed`` with ``allow_unclaimed``.
        ``part``: the model may lack names of the plan, as a stage of a pipeline does; they are
        ``absent`` in the receipt. ``names={"0": "layers.7"}``: what is under ``0`` in the model is
        ``layers.7`` in the plan. ``missing_from`` is as of `apply`; each process reads its part.
        The receipt is of what this process holds.

        Raises:
            FaninError: as `apply`, and for cuts that are not known or not as recorded. What was
                on meta is on meta again then.

        >>> import fanin
        >>> with torch.device("meta"):
        ...     net = nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 100))
        >>> plan = fanin.plan(net, torch.ones(8, 30, device="meta"), recipe=fanin.recipes.kaiming)
        >>> receipt = plan.materialize(net, seed=0)
        >>> print(f"planned {plan['2.weight'].std:.3f}, drawn {net[2].weight.std():.3f}")
        planned 0.100, drawn 0.100
        """
        return materialized(
            self.entries,
            model,
            device=device,
            dtype=dtype,
            seed=seed,
            allow_unclaimed=allow_unclaimed,
            plan=self.checksum,
            part=part,
            names=names,
            missing_from=missing_from,
            allow_unexpected=allow_unexpected,
        )

    def verify(
        self,
        model: nn.Module | Checkpoint,
        *,
        seed: int,
        part: bool = False,
        names: Mapping[str, str] | None = None,
    ) -> Verification:
        """Whether ``model`` is the draw of this plan for ``seed``, bit for bit; nothing is written.

        Each process draws what it holds, a small part at a time, and compares, without
        communication; orthogonal starts to 1e-6. Nothing is said of what the plan keeps. A state
        dict or the path of a checkpoint is taken too. ``part`` and ``names`` are of `materialize`.

        Raises:
            FaninError: for another model than planned, or one without values.
        """
        return proven(self.entries, model, seed=seed, plan=self.checksum, part=part, names=names)

    def calibrate(
        self,
        model: nn.Module,
        batch: object,
        *,
        seed: int = 0,
        per: Literal["tensor", "output"] = "tensor",
        training: bool = False,
        target: float | Callable[[Site], float | None] | None = None,
    ) -> "Plan":
        """W <- W std / std(W x) for each weight as it runs, in one forward pass; kept as numbers.

        ``seed`` is the one to apply with: then the stds hold up to rounding. ``per="output"``
        measures each output, else each weight as a whole. ``training`` is the mode that the model
        runs in; it is itself left as it was. ``target``: the std to have, or a function of a
        `Site`; without it that of the recipe's choices, or 1. Plans for `fanin.recipes.lsuv` need
        this; any other plan may have it.

        Raises:
            FaninError: for a model that does not run, an output that is not finite or has no
                spread.
        """
        entries = calibrated(
            self.entries, model, batch, seed=seed, per=per, training=training, target=target
        )
        return replace(self, entries=entries, receipt=None)

    def scaled(
        self, factors: Mapping[str, Factor], *, measured: Mapping[str, float] | None = None
    ) -> "Plan":
        """This plan with initializers multiplied: by one number, or by one for each output.

        ``measured``: the std of the output that was found before, by name, for `explain`.
        An entry that asks for a calibration has it then.

        Raises:
            FaninError: for what is no mapping, an unknown name, what is not drawn, or a start that
                cannot be scaled.
        """
        for given in (factors, measured or {}):
            require_mapping(given)
        changed = {self[name].name: value for name, value in factors.items()}
        entries = scaled(self.entries, changed, measured or {})
        return replace(self, entries=entries, receipt=None)

    def stream(
        self,
        model: nn.Module | None = None,
        *,
        seed: int,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        allow_unclaimed: bool = False,
    ) -> Iterator[tuple[str, Tensor]]:
        """``(name, tensor)`` for each filled tensor, one at a time, bit for bit as by `apply`.

        For loaders that put tensors into a model on the meta device. Shapes and dtypes are the
        plan's; with a ``model`` they, and the names with its wrappers, are the model's.
        A tied tensor comes once, under its first name: tie the model afterwards. Where the ties of
        ``model`` are undone, as a move to the meta device does, it comes under each name.
        What does not come, kept and parametrized ones, is `left_out`.

        Raises:
            FaninError: as `apply`, at the call and not at the first tensor.
        """
        return streamed(
            self.entries,
            model,
            seed=take_seed(seed),
            dtype=dtype,
            device=device,
            allow_unclaimed=allow_unclaimed,
        )

    def param_init(self, path: str = "", *, seed: int) -> dict[str, Filling]:
        """``{local name: function that fills one tensor}`` of the module at ``path``.

        As torchtitan's ``param_init`` takes it. Kept, unclaimed and parametrized ones are left
        out, as is a tied tensor but under its first name.

        Raises:
            FaninError: for a path that is none.
        """
        return fillings(self.entries, path, take_seed(seed))

    def explain(self, name: str) -> str:
        """What the parameter is, how it starts, with its numbers, and why: a paragraph.

        A glob (``"*.down.weight"``) has a paragraph for each of the first parameters it finds.

        Raises:
            FaninError: for a name or a glob that finds nothing.
        """
        found = () if name in self else matching(name, self.entries)
        return explained_all(found, self.recipe) if found else explained(self[name], self.recipe)

    def diff(self, other: "Plan") -> Difference:
        """What ``other`` adds, removes and changes; empty where both do the same to a model."""
        if not isinstance(other, Plan):
            raise FaninError(
                "this is not a plan",
                where="plan.diff",
                found=repr(other)[:80],
                fix="give what fanin.plan or Plan.load returned",
            )
        return difference(self.entries, other.entries)

    @property
    def checksum(self) -> str:
        """BLAKE2b-64 of what is drawn and kept, by name; reasons and the order do not count."""
        return _json.checksum_of(self.entries)

    def to_json(self, *, indent: int | None = None) -> str:
        """The plan as JSON text, a line for each entry, or with an indent as json.dumps has it.

        A function in place of a gain is written as its number.

        Raises:
            FaninError: for a start that is code of the user's, naming the parameter.
        """
        header = _json.Header(self.recipe, self.formula, self.model, self.mode, self.batch)
        return _json.write(header, self.entries, indent)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote; reading runs no code, whatever the text holds.

        Raises:
            FaninError: for any other text, another version, or unknown fields.
        """
        header, entries = _json.read(text)
        return cls(entries, header.recipe, header.formula, header.model, header.mode, header.batch)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file, whole or not at all.

        Raises:
            FaninError: where its directory does not exist, and as `to_json`.
        """
        _json.write_file(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """The plan in a file that `save` wrote.

        Raises:
            FaninError: for a file that does not exist, and as `from_json`.
        """
        return cls.from_json(_json.read_file(path))

    def _title(self) -> str:
        seen = ", ".join(part for part in (self.batch, self.mode and f"{self.mode} mode") if part)
        return plan_title(self.model, self.recipe, self.formula, seen, self.coverage())

    def __repr__(self) -> str:
        return f"<{self._title().splitlines()[0]}>"

    def __str__(self) -> str:
        return plan_text(self._title(), self.entries)

    def _repr_html_(self) -> str:
        return plan_html(self._title(), self.entries)
