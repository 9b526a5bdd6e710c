"""Finds the workflow that ``FILE.py:WORKFLOW`` or ``package.module:WORKFLOW`` names.

Importing runs the user's module as ``python FILE.py`` would find it: the file's folder (for a module: the
current one) goes first on the search path. The module is registered under its name, since that is how the
types that it defines are found in a database.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from durable_trio import Workflow
from durable_trio.cli.text import CommandError, safe, safe_lines, shorten_middle

_NOT_THE_USERS = (str(Path(__file__).parent.parent), str(importlib.__file__), "<frozen importlib")


class Loaded(NamedTuple):
    """A user's module.

    Attributes:
        workflow: the one that was named.
        workflows: every one in the module, so that unfinished runs of the others can go on too.
        types: the classes that the module can name, so that their instances can be stored.
    """

    workflow: Workflow
    workflows: list[Workflow]
    types: list[type]


def load(target: str) -> Loaded:
    """Import the module and find the workflow in it.

    Raises:
        CommandError: there is no such file, module or workflow, or importing failed.
    """
    source, name = _split(target)
    module = _import_file(Path(source)) if _is_file(source) else _import_module(source)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Workflow)}
    workflow = _choose(module, found, source, name)
    return Loaded(workflow, list(dict.fromkeys(found.values())), _types(module))


def _split(target: str) -> tuple[str, str | None]:
    before, found, after = target.partition(".py:")
    if found:
        source, colon, name = f"{before}.py", ":", after
    elif target.endswith(".py"):
        source, colon, name = target, "", ""
    else:
        source, colon, name = target.partition(":")
    if not source:
        raise CommandError(
            f"{target!r:.80} names no file or module; write FILE.py:WORKFLOW or MODULE:WORKFLOW"
        )
    if colon and not name:
        raise CommandError(f"nothing follows the colon in {target!r:.80}; write {source}:WORKFLOW")
    return source, name or None


def _is_file(source: str) -> bool:
    return source.endswith(".py") or "/" in source or _exists(source)


def _exists(source: str) -> bool:
    return os.path.isfile(source)  # noqa: PTH113 - Path.is_file raises for names that cannot be


# -- importing ---------------------------------------------------------------------------------------


def _import_file(path: Path) -> ModuleType:
    shown = str(path)
    if path.suffix != ".py":
        meant = path.with_name(f"{path.name}.py")
        hint = f"; did you mean {meant}?" if _exists(str(meant)) else ""
        raise CommandError(f"{path} is not the name of a Python file (.py){hint}")
    try:
        path = path.resolve(strict=True)
        path.open("rb").close()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"cannot read {shorten_middle(shown, 200)}: {why}") from None
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names:
        raise CommandError(
            f"{path.name} cannot be imported as {name!r}, which is the name of another module; rename the "
            "file"
        )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001 - even SystemExit: a script without a __main__ guard
        del sys.modules[name]
        hint = ""
        if isinstance(error, ImportError) and (path.parent / "__init__.py").exists():
            hint = (
                f"; it is part of a package: name it as a module, such as {path.parent.name}.{name}:WORKFLOW"
            )
        raise _import_failed(shown, error, hint) from None
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(
            f"{name!r:.80} is neither a Python file (.py) nor the name of a module; write FILE.py:WORKFLOW "
            "or package.module:WORKFLOW"
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - as above
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            hint = f"; did you mean the file {name}.py?" if _exists(f"{name}.py") else ""
            raise CommandError(
                f"there is no module {error.name!r:.80} in the current folder or installed{hint}"
            ) from None
        raise _import_failed(f"module {name}", error, "") from None


def _import_failed(what: str, error: BaseException, hint: str) -> BaseException:
    """What to raise when a user's module raises while it is imported."""
    if isinstance(error, KeyboardInterrupt):
        return error
    if isinstance(error, SystemExit):
        return CommandError(
            f"importing {what} ended the program (SystemExit: {error}); put what it does when it is run "
            "behind: if __name__ == '__main__':"
        )
    message = safe(str(error)) or "no message"
    return CommandError(
        f"cannot import {what}: {type(error).__name__}: {message}{hint}", detail=user_traceback(error)
    )


def user_traceback(error: BaseException) -> str:
    """Where the error comes from, without the frames of the import system and of this library.

    What the error says is left out, unless that is more than a line of its own can say.
    """
    shown = traceback.TracebackException.from_exception(error)
    last = list(shown.format_exception_only())
    parts: list[traceback.TracebackException | None] = [shown]
    while parts:
        part = parts.pop()
        if part is None:
            continue
        part.stack = traceback.StackSummary.from_list(
            [frame for frame in part.stack if not frame.filename.startswith(_NOT_THE_USERS)]
        )
        parts += [part.__cause__, part.__context__]
    lines = list(shown.format())
    if len(last) == 1:
        del lines[-1]
    return safe_lines("".join(lines)).rstrip()


# -- finding -----------------------------------------------------------------------------------------


def _choose(module: ModuleType, found: dict[str, Workflow], source: str, name: str | None) -> Workflow:
    workflows = list(dict.fromkeys(found.values()))
    if not workflows:
        raise CommandError(
            f"there is no workflow in {source}; it needs one at its top level: wf = Workflow(...)"
        )
    if name is None:
        if len(workflows) == 1:
            return workflows[0]
        first = f"{source}:{next(iter(found))}"
        raise CommandError(f"there are several workflows in {source}: {_listed(found)}; name one: {first}")
    if name in found:
        return found[name]
    named = [workflow for workflow in workflows if workflow.name == name]
    if len(named) == 1:
        return named[0]
    if named:
        raise CommandError(
            f"there are several workflows of the name {name!r:.80} in {source}; use the name of a variable: "
            f"{_listed(found)}"
        )
    if hasattr(module, name):
        kind = type(getattr(module, name)).__name__
        raise CommandError(
            f"{name} in {source} is no Workflow (its type is {kind}); the workflows there: {_listed(found)}"
        )
    raise CommandError(f"there is no workflow {name!r:.80} in {source}; there are: {_listed(found)}")


def _listed(found: dict[str, Workflow]) -> str:
    return ", ".join(
        key if key == workflow.name else f"{key} ({workflow.name!r})" for key, workflow in found.items()
    )


def _types(module: ModuleType) -> list[type]:
    """The storable classes that the module can name; those of its own module the engine finds itself."""
    found = [value for value in vars(module).values() if isinstance(value, type) and _is_storable(value)]
    return [cls for cls in dict.fromkeys(found) if cls.__module__.partition(".")[0] != "durable_trio"]


def _is_storable(cls: type) -> bool:
    if issubclass(cls, (enum.Enum, msgspec.Struct)):
        return cls.__module__ not in {"enum", "msgspec"}
    # Not one with a builtin base such as dict or Exception, whose data is not in its fields.
    return dataclasses.is_dataclass(cls) and cls.__new__ is object.__new__
