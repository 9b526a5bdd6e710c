"""What a run waits for between two steps: the ``Workflow`` methods that declare waits.

A wait is a node like any other, named and recorded. Its name is never a position: a sleep is called after its
length, a wait for an event or an input after that; where two would have one name, one is to be given another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Any

from durable_trio._definition.checks import (
    check_duration,
    check_instant,
    check_key,
    check_name,
    check_wait_timeout,
)
from durable_trio._definition.declarations import Declarations, Leaf
from durable_trio._definition.functions import check_function, default_name, is_async
from durable_trio._definition.nodes import EventNode, InputNode, SleepNode
from durable_trio._errors import DefinitionError, InputError
from durable_trio._forms import ChoiceValue, InputKind, check_answer, input_spec

Timeout = float | timedelta | None
Choices = Sequence[ChoiceValue | Mapping[str, Any]]
Fields = Sequence[Mapping[str, Any]]

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


class Waits:
    """The part of ``Workflow`` that waits."""

    _declarations: Declarations

    def sleep(
        self, duration: float | timedelta | Callable[[Any], Any], /, *, name: str | None = None
    ) -> None:
        """Declare a wait of some length: ``wf.sleep(timedelta(days=3))``. The context stays as it is.

        When it ends is fixed when it begins, and a restart does not extend it.

        Args:
            duration: seconds or a timedelta; or a function of the context, plain or ``async``, that returns
                one of them.
            name: unique in the workflow; by default ``"sleep_3d"`` (or ``h``, ``m``, ``s``), or the
                function's name.

        Raises:
            DefinitionError: an argument is not as described, or the name is taken.
        """
        what = "its duration"
        where = self._start_wait("sleep", name)
        if callable(duration):
            self._sleep_by(duration, name, where, absolute=False)
            return
        if isinstance(duration, datetime):
            raise DefinitionError(
                f"{where}: {what} must be seconds or a timedelta, not {duration!r}; wait for an instant with "
                "wf.sleep_until"
            )
        length = check_duration(duration, where, what)
        name = f"sleep_{_duration_text(length)}" if name is None else name
        self._declare_sleep(SleepNode(name=name, path="", key=name, seconds=length), where)

    def sleep_until(self, instant: datetime | Callable[[Any], Any], /, *, name: str | None = None) -> None:
        """Declare a wait for an instant: ``wf.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))``.

        An instant that has passed is no wait. The context stays as it is.

        Args:
            instant: an aware datetime; or a function of the context, plain or ``async``, that returns one.
            name: unique in the workflow; by default ``"sleep_until_2030-01-01"``, or the function's name.

        Raises:
            DefinitionError: an argument is not as described, or the name is taken.
        """
        what = "its instant"
        where = self._start_wait("sleep", name)
        if callable(instant):
            self._sleep_by(instant, name, where, absolute=True)
            return
        if isinstance(instant, (int, float, timedelta)):
            raise DefinitionError(
                f"{where}: {what} must be a datetime with a time zone, not {instant!r}; wait for some time "
                "with wf.sleep"
            )
        until = check_instant(instant, where, what)
        name = f"sleep_until_{until.date().isoformat()}" if name is None else name
        self._declare_sleep(SleepNode(name=name, path="", key=name, until=until), where)

    def wait_for_event(
        self,
        name: str,
        *,
        timeout: Timeout = None,
        default: Any = ...,
        returns: str | None = None,
        step: str | None = None,
    ) -> None:
        """Declare a wait for an event that is sent to the run; its payload is added to the context.

        An event that was sent before is delivered at once; events of one name are delivered in their order,
        each to one wait.

        Args:
            name: the event's name.
            timeout: seconds (or a timedelta) from when the wait begins, which a restart does not extend;
                None: until the event comes.
            default: the payload when the time is over. Without one (``...``) the wait fails then with a
                ``WaitTimeout``.
            returns: the context's key of the payload and, directly in a parallel block, the key of its
                result; the event's name by default.
            step: the wait's own name, unique in the workflow; ``"wait_for_"`` and the event's by default.

        Raises:
            DefinitionError: an argument is not as described, or ``step`` is taken.
        """
        where, step, key = self._start_message("event", name, returns, step)
        node = EventNode(
            name=step,
            path="",
            key=key,
            event=name,
            timeout=check_wait_timeout(timeout, where),
            default=None if default is ... else default,
            has_default=default is not ...,
        )
        self._declare_message(Leaf("wait for event", node), where)

    def wait_for_input(
        self,
        name: str,
        *,
        kind: InputKind = "text",
        prompt: str | None = None,
        choices: Choices | None = None,
        fields: Fields | None = None,
        timeout: Timeout = None,
        default: Any = ...,
        returns: str | None = None,
        step: str | None = None,
    ) -> None:
        """Declare a wait for a person's answer, which is added to the context.

        Args:
            name: the input's name.
            kind: ``"approval"``: the answer is ``"approved"`` or ``"rejected"``. ``"choice"``: it is one of
                the choices' values. ``"text"``: it is a str. ``"form"``: it is a dict of the fields.
            prompt: what the person is asked.
            choices: values (str, int, float or bool), or mappings with ``value`` and ``label``.
            fields: mappings with ``name``, and ``type`` (``"text"``, the default, ``"number"``,
                ``"boolean"`` or ``"select"``), ``options`` of a select (as ``choices``), ``required`` (True
                by default) and ``label``.
            timeout: as of ``wait_for_event``.
            default: the answer when the time is over: one that fits, or None. Without one (``...``) the wait
                fails then with a ``WaitTimeout``.
            returns: the context's key of the answer and, directly in a parallel block, the key of its
                result; the input's name by default.
            step: the wait's own name, unique in the workflow; ``"wait_for_"`` and the input's by default.

        Raises:
            DefinitionError: an argument is not as described, or ``step`` is taken.
        """
        where, step, key = self._start_message("input", name, returns, step)
        spec = input_spec(kind, prompt=prompt, choices=choices, fields=fields, where=where)
        if default is not ... and default is not None:
            try:
                default = check_answer(spec, default, what="default=")
            except InputError as error:
                raise DefinitionError(f"{where}: {error}") from None
        node = InputNode(
            name=step,
            path="",
            key=key,
            input=name,
            spec=spec,
            timeout=check_wait_timeout(timeout, where),
            default=None if default is ... else default,
            has_default=default is not ...,
        )
        self._declare_message(Leaf("wait for input", node), where)

    def wait_for_approval(
        self,
        name: str,
        *,
        prompt: str | None = None,
        timeout: Timeout = None,
        default: str | bool | EllipsisType | None = ...,
        returns: str | None = None,
        step: str | None = None,
    ) -> None:
        """Declare a wait for a yes or no; the answer is ``"approved"`` or ``"rejected"``.

        See ``wait_for_input`` for the arguments and errors.
        """
        self.wait_for_input(
            name, kind="approval", prompt=prompt, timeout=timeout, default=default, returns=returns, step=step
        )

    def wait_for_choice(
        self,
        name: str,
        choices: Choices,
        *,
        prompt: str | None = None,
        timeout: Timeout = None,
        default: ChoiceValue | EllipsisType | None = ...,
        returns: str | None = None,
        step: str | None = None,
    ) -> None:
        """Declare a wait for one of the choices; the answer is its value.

        See ``wait_for_input`` for the arguments and errors.
        """
        self.wait_for_input(
            name,
            kind="choice",
            prompt=prompt,
            choices=choices,
            timeout=timeout,
            default=default,
            returns=returns,
            step=step,
        )

    def wait_for_text(
        self,
        name: str,
        *,
        prompt: str | None = None,
        timeout: Timeout = None,
        default: str | EllipsisType | None = ...,
        returns: str | None = None,
        step: str | None = None,
    ) -> None:
        """Declare a wait for a text; the answer is a str.

        See ``wait_for_input`` for the arguments and errors.
        """
        self.wait_for_input(
            name, kind="text", prompt=prompt, timeout=timeout, default=default, returns=returns, step=step
        )

    def wait_for_form(
        self,
        name: str,
        fields: Fields,
        *,
        prompt: str | None = None,
        timeout: Timeout = None,
        default: Mapping[str, Any] | EllipsisType | None = ...,
        returns: str | None = None,
        step: str | None = None,
    ) -> None:
        """Declare a wait for a form; the answer is a dict of its fields, None for what may and does lack.

        See ``wait_for_input`` for the arguments and errors.
        """
        self.wait_for_input(
            name,
            kind="form",
            prompt=prompt,
            fields=fields,
            timeout=timeout,
            default=default,
            returns=returns,
            step=step,
        )

    def _start_wait(self, title: str, name: str | None) -> str:
        where = self._declarations.where(title if name is None else f"{title} {name!r}")
        self._declarations.check_changeable(where)
        if name is not None:
            check_name(name, where)
        return where

    def _sleep_by(self, fn: Callable[[Any], Any], name: str | None, where: str, *, absolute: bool) -> None:
        check_function(fn, where, ("ctx",))
        name = check_name(default_name(fn, where), where) if name is None else name
        node = SleepNode(name=name, path="", key=name, fn=fn, fn_is_async=is_async(fn), absolute=absolute)
        self._declare_sleep(node, where)

    def _declare_sleep(self, node: SleepNode, where: str) -> None:
        functions = () if node.fn is None else (node.fn,)
        self._declarations.declare(Leaf("sleep", node, functions), where, "give this one a name= of its own")

    def _start_message(
        self, title: str, name: str, returns: str | None, step: str | None
    ) -> tuple[str, str, str]:
        """How its messages begin, the name of the wait, and its key."""
        where = self._declarations.where(f"wait for {title} {name!r}")
        self._declarations.check_changeable(where)
        check_key(name, where, "its name")
        if step is None:
            step = check_name(f"wait_for_{name}", where, "the wait's own name (give it another with step=)")
        else:
            check_name(step, where, "step=")
        return where, step, name if returns is None else check_key(returns, where, "returns=")

    def _declare_message(self, leaf: Leaf, where: str) -> None:
        self._declarations.declare(leaf, where, "give this wait another with step=")


def _duration_text(length: float) -> str:
    """``3d``, ``90m``, ``0.5s``: in the largest unit of which it is a whole number."""
    if length:
        for unit, size in _UNITS:
            if length % size == 0:
                return f"{length / size:.0f}{unit}"
    return f"{length:.0f}s" if length.is_integer() else f"{length!r}s"
