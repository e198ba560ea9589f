"""The declarations of this process: by imported modules, entry points and files."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Final, Protocol

from eventtracking_catalog.declaration import Declaration

__all__ = ["OWN_PREFIX", "Conflict", "Registry", "Source", "Watcher", "registry"]

OWN_PREFIX: Final = "eventtracking."
"""Names that begin so are the framework's own."""


class Watcher(Protocol):
    """Those who remember declarations, and have to forget them when new ones come."""

    def forget(self) -> None:
        """Ask the registry anew."""


class Source:
    """A declaration that is read when it is first needed.

    Args:
        place: Where it stands; a second one of the same place takes the place of the first.
        is_local: Whether it stands in a function of a test, and goes with it.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Declaration],
        place: str,
        kind: str = "event",
        is_local: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.place = place
        self.is_local = is_local
        self._read = read

    @cached_property
    def declaration(self) -> Declaration:
        """Read it, once; a failure is among its problems."""
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - reading runs code of the application
            text = f"the declaration cannot be read ({type(error).__name__})"
            return Declaration(
                name=self.name, kind=self.kind, place=self.place, problems=(text,), is_open=True
            )


class Conflict(Exception):  # noqa: N818 - a finding, raised nowhere
    """Two declarations of one name that differ."""

    def __init__(self, name: str, places: tuple[str, ...]) -> None:
        super().__init__(f"{name} is declared differently at {' and at '.join(places)}")
        self.name = name
        self.places = places


class Registry:
    """Every declaration of this process, by kind and name; the first of a name counts.

    Files belong to the processors that name them: they count for as long as one of those lives.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._imported: dict[tuple[str, str], dict[str, Source]] = {}
        self._files: weakref.WeakValueDictionary[str, FileLayer] = weakref.WeakValueDictionary()
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self.problems: dict[str, None] = {}
        """Declarations that could not even be registered."""

    def add(self, source: Source) -> None:
        """Take a declaration in; one of the same place is replaced."""
        with self._lock:
            self._imported.setdefault((source.kind, source.name), {})[source.place] = source
        self.changed()

    def problem(self, text: str) -> None:
        """Note a declaration that is none."""
        self.problems[text] = None

    def add_layer(self, layer: FileLayer) -> None:
        """Take the declarations of a file in, for as long as the layer lives."""
        with self._lock:
            self._files[layer.path] = layer
        self.changed()

    def layer(self, path: str) -> FileLayer | None:
        """Return the living layer of a file."""
        with self._lock:
            return self._files.get(path)

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher told of each change."""
        with self._lock:
            self._watchers.add(watcher)

    def changed(self) -> None:
        """Tell every watcher."""
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.forget()

    def sources(
        self, name: str, kind: str = "event", layers: Iterable[FileLayer] | None = None
    ) -> list[Source]:
        """Return every declaration of a name, the one that counts first.

        Args:
            layers: The files to look into; by default all, the newest first.
        """
        with self._lock:
            found = list(self._imported.get((kind, name), {}).values())
            files = list(self._files.values())[::-1] if layers is None else list(layers)
        return [*found, *(source for layer in files for source in layer.named(name, kind))]

    def get(
        self, name: str, kind: str = "event", layers: Iterable[FileLayer] = ()
    ) -> Declaration | None:
        """Return the declaration of a name, if there is one.

        Args:
            layers: The files that the config of the one who asks names: these count before the
                files of other configs.
        """
        found = self.sources(name, kind, layers) or self.sources(name, kind)
        return found[0].declaration if found else None

    def names(self, kind: str = "event") -> list[str]:
        """List the declared names, sorted."""
        with self._lock:
            found = {name for one, name in self._imported if one == kind}
            for layer in list(self._files.values()):
                found |= {source.name for source in layer.sources if source.kind == kind}
        return sorted(found)

    def all(self, kind: str = "event") -> Iterator[Declaration]:
        """Read every declaration of a kind, by name."""
        for name in self.names(kind):
            found = self.get(name, kind)
            if found is not None:
                yield found

    def conflicts(self, layers: Iterable[FileLayer] | None = None) -> Iterator[Conflict]:
        """Find the names with declarations that differ.

        Args:
            layers: The files to look into, beside imported modules; by default all.
        """
        files = None if layers is None else list(layers)
        for kind in ("event", "context"):
            for name in self.names(kind):
                found = [source.declaration for source in self.sources(name, kind, files)]
                if len({(one.shape, one.docs) for one in found}) > 1:
                    yield Conflict(name, tuple(one.place for one in found))

    def drop_local(self, keep: frozenset[int] = frozenset()) -> None:
        """Forget declarations that stand in functions, but for those of these identities."""
        with self._lock:
            for key, places in list(self._imported.items()):
                for place, source in list(places.items()):
                    if source.is_local and id(source) not in keep:
                        del places[place]
                if not places:
                    del self._imported[key]
        self.changed()

    def after_fork(self) -> None:
        """Let go, in a forked child, of a lock that another thread of the parent may hold."""
        self._lock = threading.RLock()

    def local(self) -> frozenset[int]:
        """The identities of the declarations that stand in functions."""
        with self._lock:
            return frozenset(
                id(source)
                for places in self._imported.values()
                for source in places.values()
                if source.is_local
            )


class FileLayer:
    """The declarations of one file."""

    def __init__(self, path: str, sources: list[Source]) -> None:
        self.path = path
        self.sources = sources

    def named(self, name: str, kind: str) -> list[Source]:
        """Return the declarations of a name."""
        return [one for one in self.sources if (one.kind, one.name) == (kind, name)]


registry: Final = Registry()
"""That of this process."""
