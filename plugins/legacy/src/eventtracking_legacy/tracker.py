"""The tracker of a site whose settings are those of event-tracking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from eventtracking import ConfigError, Event, Outcome, Problem, Tracker
from eventtracking._data.intake import as_name
from eventtracking._data.shape import bare
from eventtracking._pipeline import context as contexts
from eventtracking._pipeline.route import Route
from eventtracking.config import Spec, parse
from eventtracking_django.install import configure_default, register_default
from eventtracking_django.tracker import DjangoTracker as _DjangoTracker
from eventtracking_legacy.changes import with_backends, with_objects, with_processors
from eventtracking_legacy.queue import celery_queue
from eventtracking_legacy.settings import BACKENDS, PROCESSORS, Translation, translate
from eventtracking_legacy.views import RouterView, view_of

__all__ = [
    "UNKNOWN_EVENT_TYPE",
    "DjangoTracker",
    "configure_from_settings",
    "override_default_tracker",
    "parse_settings",
    "settings_as_config",
]

UNKNOWN_EVENT_TYPE = "unknown"
"""The name of an event that was emitted without one."""


class _Bare(dict[str, Any]):
    """Data that is no mapping, as core wraps it."""


class DjangoTracker(_DjangoTracker):
    """A tracker that behaves as event-tracking's did, made from the Django settings, read now.

    Args:
        backends_settings_name: The setting that holds the backends.
        processors_settings_name: The setting that holds the processors.
        refusal: For a tracker that is configured later: the outcome of events until then.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """

    def __init__(
        self,
        backends_settings_name: str = BACKENDS,
        processors_settings_name: str = PROCESSORS,
        *,
        refusal: tuple[Outcome, str] | None = None,
    ) -> None:
        self._config: Mapping[str, Any] = {}
        if refusal is None:
            super().__init__()
            configure_from_settings(self, backends_settings_name, processors_settings_name)
        else:
            super().__init__(refusal)

    # Emitting

    def emit(
        self,
        name: Any = None,
        data: Any = None,
        *,
        on_commit: bool | None = None,
        using: str | None = None,
    ) -> None:
        """Capture an event and send it, at once or on commit; see `Tracker.emit`.

        Without a name it is called `unknown`. Data that is text or a list reaches every
        destination as it is.
        """
        super().emit(name, data, on_commit=on_commit, using=using)

    def _capture(self, name: Any, data: Any) -> Event | None:
        if name is None or (type(name) is str and not name):
            name = UNKNOWN_EVENT_TYPE
        event = super()._capture(name, data)
        if event is None or type(event.data) is not _Bare:
            return event
        facts, mark = bare(event.data["value"])
        return event.replace(data=facts, extra={**event.extra, **mark})

    def _wrap(self, data: Any) -> dict[str, Any]:
        return _Bare(value=data)

    # Contexts

    def enter_context(self, name: str, context: Mapping[str, Any]) -> None:
        """Enter a context, in the place of the one of that name that is entered already.

        So one that is never left is gone with the next of its name. `with tracker.context(...)`
        nests: it hides one of its name, which is there again afterwards.
        """
        self._enter(as_name(name), context, contexts.put)

    @contextmanager
    def _entered_context(  # type: ignore[override]  # as a decorator, of plain functions alone
        self, name: object, context: Any
    ) -> Iterator[None]:
        """Enter a context for a `with` block; one of the same name is hidden meanwhile."""
        frame = contexts.frames.get().get(self._key)
        while frame is not None and frame.name != name:
            frame = frame.outer
        self._enter(name, context, contexts.put)
        try:
            yield
        finally:
            if frame is None:
                self._leave(name)
            else:
                contexts.put(self._key, name, frame.own, self._base)

    # Looking in, and changing

    @property
    def routing_backend(self) -> RouterView:
        """The router at the root."""
        return RouterView(self, "")

    @property
    def backends(self) -> MutableMapping[str, Any]:
        """The backends at the root, by name: a site's own objects, or views of our plugins."""
        return self.routing_backend.backends

    def get_backend(self, name: str) -> Any:
        """Return a backend at the root.

        Raises:
            KeyError: If there is none of that name.
        """
        return self.backends[name]

    @property
    def processors(self) -> MutableSequence[Any]:
        """The processors at the root: a site's own objects, or ours as the predecessor's
        classes.
        """
        return self.routing_backend.processors

    def shown(self, route: Route) -> Any:
        """Return a route as users of event-tracking know it."""
        return view_of(self, route)

    def configure(self, mapping: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Give the tracker a config; see `Tracker.configure`."""
        result = super().configure(mapping, *args, **kwargs)
        self._config = mapping
        return result

    def put_backends(self, router: str, changes: Mapping[str, Any]) -> None:
        """Put a site's objects below a router by name, or remove backends (None).

        Raises:
            ConfigError: If the tree cannot have them.
        """
        self.configure(with_backends(self._as_objects(), router, changes))

    def put_processors(self, route: str, processors: list[Any]) -> None:
        """Give a route other processors.

        Raises:
            ConfigError: If the tree cannot have them.
        """
        self.configure(with_processors(self._as_objects(), route, processors))

    def _as_objects(self) -> dict[str, Any]:
        """The config, with the objects that the tracker uses in the place of their classes."""
        return with_objects(self._config, self._tree)


def configure_from_settings(
    tracker: Tracker,
    backends_name: str = BACKENDS,
    processors_name: str = PROCESSORS,
    *,
    partly: bool = False,
) -> Sequence[Problem]:
    """Give a tracker the config that the old settings describe.

    Args:
        partly: Whether sound routes start beside broken ones; see `Tracker.configure`.

    Returns:
        The problems of the broken routes, at their places in the settings.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """
    translation = _translation(backends_name, processors_name)
    try:
        problems = tracker.configure(translation.config, partly=partly)
    except ConfigError as error:
        raise translation.in_settings(error) from None
    return translation.in_settings(ConfigError(problems)).problems if problems else ()


def parse_settings() -> Spec:
    """Check the config that the old settings describe.

    Raises:
        ConfigError: With every problem, at its place in the settings.
    """
    translation = _translation(BACKENDS, PROCESSORS)
    try:
        return parse(translation.config)
    except ConfigError as error:
        raise translation.in_settings(error) from None


def settings_as_config() -> Mapping[str, Any]:
    """Return the config that the old settings describe, in a form that can be written to a file.

    Raises:
        ConfigError: With every problem of their form.
    """
    backends, processors = getattr(settings, BACKENDS, None), getattr(settings, PROCESSORS, None)
    return translate(backends, processors, plain=True, queue=celery_queue).config


def override_default_tracker() -> None:
    """Make the default tracker anew from the Django settings."""
    register_default()
    configure_default()


def _translation(backends_name: str, processors_name: str) -> Translation:
    return translate(
        getattr(settings, backends_name, None),
        getattr(settings, processors_name, None),
        queue=celery_queue,
    )
