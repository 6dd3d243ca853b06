"""An executor on Ray: a comparison on all cores of a machine, or of a cluster."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, final

from fanin._errors import FaninError

__all__ = ["RayExecutor", "ray_executor"]


def ray_executor(**settings: Any) -> "RayExecutor":
    """An executor whose jobs are tasks of Ray; ``settings`` are those of ``ray.init``.

    Where Ray is running already it is used as it is. What the jobs share, the model's code and the
    data, is sent to the cluster once. Each task asks for one core, and computes on one thread.
    After ``with``, or `close`, a Ray that was started here is shut down.

    Raises:
        FaninError: where Ray is not installed, or runs already and ``settings`` are given.

    ::

        with fanin.ray_executor(address="auto") as executor:
            comparison = fanin.compare(make_model, recipes, data, executor=executor)
    """
    try:
        ray = import_module("ray")
    except ModuleNotFoundError as error:
        raise FaninError(
            "Ray is not installed",
            where="fanin.ray_executor",
            found=str(error),
            fix='pip install "fanin[ray]", or train in processes of this machine: workers=4',
        ) from error
    started = not ray.is_initialized()
    if started:
        ray.init(**settings)
    elif settings:
        raise FaninError(
            "Ray is running already",
            where="fanin.ray_executor",
            found=", ".join(settings),
            fix="leave the arguments out, or call ray.shutdown() first",
        )
    return RayExecutor(ray, started=started)


@final
class RayExecutor:
    """Runs functions as tasks of Ray; as a context manager it ends what it started."""

    def __init__(self, ray: Any, *, started: bool) -> None:  # noqa: ANN401 - a module
        self._ray, self._started = ray, started
        self._sent: tuple[object, object] | None = None
        # Each on a core of its own: Ray gives it one thread.
        self._call = ray.remote(num_cpus=1, max_retries=2)(_called)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> "_Task":
        """Begin ``function(*args)`` as a task; the same first argument again is sent once."""
        return _Task(self._ray, self._call.remote(function, *map(self._put, args[:1]), *args[1:]))

    def _put(self, value: object) -> object:
        if self._sent is None or self._sent[0] is not value:
            self._sent = value, self._ray.put(value)
        return self._sent[1]

    def close(self) -> None:
        """End Ray, if it was started here."""
        self._sent = None
        if self._started:
            self._ray.shutdown()

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _called(function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401 - any function's
    return function(*args)


@final
class _Task:
    """A task; it cannot be cancelled.

    Ray 2.60 aborts the process where a cancel meets the end of the task. Tasks that nobody waits
    for end with Ray, or with the process that began them.
    """

    def __init__(self, ray: Any, reference: object) -> None:  # noqa: ANN401 - a module
        self._ray, self._reference = ray, reference

    def result(self) -> Any:  # noqa: ANN401 - any function's
        """What the function returned; its own error where it raised one."""
        try:
            return self._ray.get(self._reference)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
