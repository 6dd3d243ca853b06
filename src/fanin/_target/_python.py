"""Objects named ``package.module:name`` or ``file.py:name``: imported, found, and called."""

import ast
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fanin._errors import FaninError, nearest

__all__ = ["call", "find", "importable", "must_import", "raised"]


@contextmanager
def importable(spec: str) -> Iterator[None]:
    """Inside, imports also look where ``python file.py`` or ``python -m package`` would.

    That is the directory of the file, or for a dotted name the current one. It stays for as long
    as the model runs, which may import as late as then; afterwards ``sys.path`` is as it was.
    A file runs once inside, however many names of it are looked up, and afterwards anew.
    """
    source = spec.partition(":")[0]
    directory = str(Path(source).resolve().parent if source.endswith(".py") else Path.cwd())
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        if directory in sys.path:
            sys.path.remove(directory)
        if source.endswith(".py"):
            sys.modules.pop(_module_name(Path(source)), None)


def find(spec: str, *, option: str) -> Any:  # noqa: ANN401 - what a user's module holds
    """The object that ``spec`` names; its module or file is run to get it, unless it has been.

    Raises:
        FaninError: where there is no such file, module or name, or the code raises.
    """
    source, _, path = spec.rpartition(":")
    if not source or not path:
        raise FaninError(
            f"{option} names no object",
            where=option,
            found=spec,
            fix=f"write {_example(spec)}",
        )
    found: Any = _run_file(source, option) if source.endswith(".py") else _import(source, option)
    for name in path.split("."):
        if not hasattr(found, name):
            raise _no_attribute(found, name, spec, option)
        found = getattr(found, name)
    return found


def call(
    function: Callable[..., Any], settings: Mapping[str, Any], *, spec: str, option: str
) -> Any:  # noqa: ANN401 - what a user's function returns
    """What ``function`` returns when called with ``settings`` as keywords.

    Raises:
        FaninError: where it needs more arguments, does not take one of these, or raises.
    """
    _check_arguments(function, settings, spec, option)
    try:
        return function(**settings)
    except (Exception, SystemExit) as error:
        raise raised(error, f"{spec} raised an error", option) from error


def must_import(name: str, *, option: str) -> Any:  # noqa: ANN401 - a module without types here
    """The module of an optional package.

    Raises:
        FaninError: where it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise raised(error, f"{name} cannot be imported", option) from error
        raise FaninError(
            f"{name} is not installed",
            where=option,
            found="no module of this name",
            fix=f"pip install {name}, or name a function of your own that makes the model",
        ) from None
    except Exception as error:
        raise raised(error, f"{name} cannot be imported", option) from error


def raised(error: BaseException, what: str, option: str) -> FaninError:
    """The error of somebody else's code in four beats, with the line that raised it."""
    last = _place(traceback.extract_tb(error.__traceback__))
    place = f"{last.filename}, line {last.lineno}, in {last.name}" if last else option
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}, line {error.lineno}"
    text = str(error).strip() or "no message"
    for cause in _causes(error):
        if "operator torchvision::" in str(cause):
            return _other_torchvision(str(cause), option)
    return FaninError(
        what,
        where=place,
        found=f"{type(error).__name__}: {text}".replace("\n", "\n         "),
        fix=f"mend it there, or give {option} something else",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it: transformers says only that it could not import."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _other_torchvision(text: str, option: str) -> FaninError:
    """torchvision's operators load only beside the build of torch that it was compiled for."""
    return FaninError(
        "torchvision on this machine does not import beside this torch",
        where=option,
        found=f"{text.splitlines()[-1].strip()}, with torch {metadata.version('torch')}",
        fix="install the two from one index, for a CPU build of torch: pip install torchvision "
        "--index-url https://download.pytorch.org/whl/cpu; what does not need it runs after pip "
        "uninstall torchvision",
    )


_HERE: Final = str(Path(__file__).parents[1])
_INSTALLED: Final = tuple(
    path for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))
)


def _place(trail: traceback.StackSummary) -> traceback.FrameSummary | None:
    """The last line of the user's own code; where there is none, of another package's."""
    others = [one for one in trail if not one.filename.startswith(("<", _HERE))]
    own = [one for one in others if not one.filename.startswith(_INSTALLED)]
    return next(reversed(own or others), None)


def _run_file(source: str, option: str) -> ModuleType:
    path = Path(source)
    if not path.is_file():
        others = [str(other) for other in path.parent.glob("*.py")]
        raise FaninError(
            "there is no such file",
            where=option,
            found=f"{source}, seen from {Path.cwd()}",
            fix=f"name one that exists{_near(source, others)}",
        )
    name = _module_name(path)
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path.resolve()):
        return known
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - given for .py files
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it still runs
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failed(error, source, option) from error
    return module


def _module_name(path: Path) -> str:
    """A name of its own, so that random.py or torch.py in that directory hides nothing."""
    return f"_fanin_target_{path.stem}"


def _import(source: str, option: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise _import_failed(error, source, option) from error
        known = [other.stem for other in Path.cwd().glob("*.py")]
        raise FaninError(
            "there is no such module",
            where=option,
            found=f"no module {error.name!r}, seen from {Path.cwd()}",
            fix=f"install it, go to its directory, or write file.py:name{_near(source, known)}",
        ) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(error, source, option) from error


def _import_failed(error: BaseException, source: str, option: str) -> FaninError:
    failed = raised(error, f"{source} raised an error when it was imported", option)
    if "relative import" not in failed.found:
        return failed
    return FaninError(
        "a file of a package cannot be run alone",
        where=failed.where,
        found=failed.found,
        fix="name it as package.module:name, from the directory that holds the package",
    )


def _no_attribute(found: object, name: str, spec: str, option: str) -> FaninError:
    known = [other for other in vars(found) if not other.startswith("_")]
    if isinstance(found, ModuleType):
        own = [other for other in known if getattr(found, other).__class__ is not ModuleType]
        mine = [other for other in own if _is_from(getattr(found, other), found)]
        known = mine or own
    return FaninError(
        f"{spec.rpartition(':')[0]} has no {name!r}",
        where=option,
        found=spec,
        fix=f"name one that it has{_near(name, known)}",
    )


def _is_from(value: object, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def _near(name: str, known: list[str]) -> str:
    return f": {nearest(name, known)}" if known else ""


def _example(spec: str) -> str:
    """The spelling to use; for a file, with a name that it defines, read without running it."""
    source = spec.rstrip(":")
    if not source.endswith(".py"):
        return "package.module:name or file.py:name"
    try:
        body = ast.parse(Path(source).read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return f"{source}:name"
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return " or ".join(f"{source}:{name}" for name in names[:3]) or f"{source}:name"


def _check_arguments(
    function: Callable[..., Any], settings: Mapping[str, Any], spec: str, option: str
) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a callable that does not say what it takes
        return
    named = [
        one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    needed = [
        one.name
        for one in parameters
        if one.default is one.empty and one.name in named and one.name not in settings
    ]
    unknown = [name for name in settings if name not in named and not takes_any]
    if unknown:
        raise FaninError(
            f"{spec} takes no argument {unknown[0]!r}",
            where=f"--set {unknown[0]}",
            found=f"its arguments: {', '.join(named) or 'none'}",
            fix=f"name one of them{_near(unknown[0], named)}",
        )
    if needed:
        raise FaninError(
            f"{spec} needs arguments",
            where=option,
            found=", ".join(needed),
            fix=f"give them: --set {needed[0]}=..., or name a function that needs none",
        )
