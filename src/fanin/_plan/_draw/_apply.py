"""Write a plan into a model: look at everything first, then draw each tensor once, then check."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from fanin._errors import FaninError
from fanin._fill import Draw, Job, padding_row, refresh, said_of, wanted_for
from fanin._plan._coverage import refuse_unclaimed
from fanin._plan._draw._check import Before, verified
from fanin._plan._draw._match import Pair, matched
from fanin._plan._draw._memory import refuse_shared_memory
from fanin._plan._entry import Entry
from fanin._plan._receipt import Receipt
from fanin._stream import Stream
from fanin._version import __version__
from fanin.initializers import Custom, Initializer
from fanin.initializers._base import take_seed
from fanin.initializers._target import has_no_data, require_writable

__all__ = [
    "applied",
    "draw_of",
    "drawn_into",
    "draws_alone",
    "refuse_uncalibrated",
    "require_range",
]


def applied(
    entries: Sequence[Entry],
    model: nn.Module,
    *,
    seed: int | None,
    allow_unclaimed: bool,
    plan: str,
) -> Receipt:
    """Fill ``model`` by ``entries``; see `Plan.apply`. ``plan`` is the checksum of the plan."""
    refuse_unclaimed(entries, allow_unclaimed=allow_unclaimed)
    refuse_uncalibrated(entries)
    pairs = matched(entries, model)
    work = _Work.of(pairs)
    number = take_seed(seed) if work.writes else None
    before = Before.of(pairs, by_bytes=bool(work.aside or work.computed))
    with torch.no_grad():
        if number is not None:
            work.write(number)
        stamps = verified(pairs, before, work.through)
    return Receipt(number, __version__, str(torch.__version__), plan, stamps)


def refuse_uncalibrated(entries: Sequence[Entry]) -> None:
    """Raise FaninError where a std is still to be measured."""
    waiting = [entry.name for entry in entries if entry.awaits_calibration]
    if waiting:
        raise FaninError(
            "the recipe measures this start, and it has not been measured",
            where=waiting[0] + (f" and {len(waiting) - 1} more" if waiting[1:] else ""),
            found="a target for the std of the output, and no number yet",
            fix="plan = plan.calibrate(model, batch), or use fanin.initialize",
        )


def draw_of(entry: Entry, row: int | None = None) -> Draw:
    """The draw that a filled entry asks for; ``row``: the padding row of the module itself."""
    initializer = entry.initializer
    assert initializer is not None  # noqa: S101 - asked of filled entries only
    padding = entry.padding_row if row is None else row
    return Draw(initializer, entry.site.layout, entry.name, entry.name, padding)


def drawn_into(tensor: Tensor, draw: Draw, seed: int) -> Tensor:
    """``tensor`` becomes the draw; a function of the user's gets random numbers of the stream."""
    if draws_alone(draw.initializer):
        return draw.fill_(tensor, seed)
    try:
        with _own_numbers(Stream(seed, draw.stream)):
            return draw.fill_(tensor, seed)
    except FaninError:
        raise
    except Exception as error:
        raise FaninError(
            "the function that is to fill this parameter failed, and nothing is written",
            where=f"{draw.place}, by {draw.initializer!r}",
            found=f"{type(error).__name__}: {error}".splitlines()[0][:200],
            fix="mend it, or give another start: plan.replace({name: initializer}); it is called "
            "with a tensor of the parameter's shape to write into, and its layout",
        ) from error


@contextmanager
def _own_numbers(stream: Stream) -> Iterator[None]:
    """Inside, torch's global generator starts from the stream's key; after, it is as before."""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(int.from_bytes(stream.digest()[:8], "little") >> 1)
    try:
        yield
    finally:
        generator.set_state(state)


def draws_alone(initializer: Initializer) -> bool:
    """Whether all of the drawing is fanin's own code, which does not fail once it was checked."""
    base = getattr(initializer, "base", None)
    if isinstance(base, Initializer) and not draws_alone(base):
        return False
    ours = type(initializer).__module__.startswith("fanin.initializers.")
    return ours and not isinstance(initializer, Custom)


@final
@dataclass(slots=True)
class _Work:
    """What is to be written: drawn in place, drawn aside first, or through other tensors."""

    in_place: list[Job] = field(default_factory=list)
    aside: list[Job] = field(default_factory=list)
    computed: list[Job] = field(default_factory=list)
    through: dict[str, list[Tensor]] = field(default_factory=dict)
    """For each computed parameter, what is kept in its place afterwards."""

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> "_Work":
        """The jobs of the filled entries that have memory; raises for what cannot be written."""
        work = cls()
        for entry, target in pairs:
            if entry.state != "filled":
                continue
            draw = draw_of(entry, padding_row(target.owner))
            job = Job(target.owner, target.local, draw)
            _require_drawable(entry, job)
            if any(has_no_data(tensor) for tensor in target.tensors):
                continue
            if job.computed:
                work.computed.append(job)
            else:
                known = draws_alone(draw.initializer)
                (work.in_place if known else work.aside).append(job)
        refuse_shared_memory(pairs)
        return work

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.in_place or self.aside or self.computed)

    def write(self, seed: int) -> None:
        """First all that may fail, beside the model; then the rest, in place."""
        ready = []
        for job in self.aside:
            value = job.stored.new_empty(job.shape)
            ready.append((job.stored, drawn_into(value, job.draw, seed)))
        for job in self.computed:
            value = drawn_into(job.stored.new_empty(job.shape), job.draw, seed)
            self.through[job.draw.stream] = wanted_for(job, value)
        for job in self.in_place:
            job.draw.fill_(job.stored, seed)
        for stored, value in ready:
            stored.copy_(value)
        for job in self.computed:
            for stored, value in zip(job.kept, self.through[job.draw.stream], strict=True):
                if not torch.equal(stored, value):
                    stored.copy_(value)
            refresh(job.owner, job.name)
        for job in (*self.in_place, *self.aside):
            _mask_again(job)


def _mask_again(job: Job) -> None:
    """A pruned layer computes its weight from the one that is filled only when it runs."""
    for hook in job.owner._forward_pre_hooks.values():  # noqa: SLF001 - the only place that tells
        if isinstance(hook, BasePruningMethod) and f"{hook._tensor_name}_orig" == job.name:  # noqa: SLF001
            with torch.enable_grad():
                hook(job.owner, ())


def _require_drawable(entry: Entry, job: Job) -> None:
    """Raise FaninError where the tensors could not be written, or would not hold the numbers."""
    with said_of(entry.name):
        for tensor in job.kept:
            if type(tensor).__name__ == "DTensor":
                raise FaninError(
                    "a sharded tensor is not filled by plan.apply",
                    where="the tensor to fill",
                    found="a DTensor",
                    fix="fill the model with plan.materialize(model, seed=...), in each process",
                )
            if tensor.dtype.is_floating_point or not job.computed:
                require_writable(tensor)
    require_range(entry, job.stored.dtype)


def require_range(entry: Entry, dtype: torch.dtype) -> None:
    """Raise FaninError where ``dtype`` would turn the draws into infinities, or all into zeros."""
    initializer = entry.initializer
    assert initializer is not None  # noqa: S101 - asked of filled entries only
    with said_of(entry.name):
        initializer.require_range(dtype, entry.axes)
    limits = torch.finfo(dtype)
    if 0 < entry.std < limits.smallest_normal * limits.eps:
        raise FaninError(
            "the draws are smaller than the dtype holds, and would become zero",
            where=f"{entry.name}, {initializer!r}",
            found=f"std {entry.std:.3g}, {dtype}",
            fix="give a larger start, or use bfloat16 or float32",
        )
