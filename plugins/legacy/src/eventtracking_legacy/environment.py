"""The packages of this environment: which of them require event-tracking, and the commands that
install them without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import importlib_metadata

__all__ = ["Report", "check_environment"]

_FORMER: Final = "event-tracking"
_OURS: Final = ("eventtracking", "eventtracking-legacy")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SEPARATORS: Final = re.compile(r"[-_.]+")
_OVERRIDE: Final = "event-tracking; python_version < '3'"


@attrs.frozen
class Report:
    """The state of the environment."""

    former: str | None
    """The version of event-tracking that is installed; None: it is not."""
    requiring: Mapping[str, tuple[str, Sequence[str]]]
    """The version of each package that requires event-tracking, and its other requirements."""
    has_own_modules: bool
    """Whether the modules of `eventtracking` are ours."""

    @property
    def is_sound(self) -> bool:
        """Whether ours runs, and nothing of event-tracking is there."""
        return self.former is None and self.has_own_modules

    def lines(self) -> Iterator[str]:
        """Tell the state, and the commands to run, one line after another."""
        if self.former is not None:
            yield f"event-tracking {self.former} is installed: it has files in the same folder as"
            yield "eventtracking, and those of the package installed last run"
        elif not self.has_own_modules:
            yield "eventtracking is damaged: some of its files are those of event-tracking, or gone"
        for name, (version, _) in self.requiring.items():
            yield f"{name} {version} requires event-tracking"
        if self.is_sound and not self.requiring:
            yield "nothing requires event-tracking, and it is not installed"
            return
        if self.is_sound:
            yield "event-tracking is not installed: keep it out when you install or upgrade"
        yield from self._pip()
        yield from self._uv()
        yield from self._constraints()

    def _pip(self) -> Iterator[str]:
        yield ""
        yield "with pip:"
        if self.former is not None:
            yield "  pip uninstall --yes event-tracking"
        for name, (version, others) in self.requiring.items():
            yield f"  pip install --no-deps {_quote(f'{name}=={version}')}"
            if others:
                yield f"  pip install {' '.join(map(_quote, others))}"
        if not self.is_sound:
            ours = " ".join(f"{name}=={version}" for name, version in _own_versions())
            yield f"  pip install --force-reinstall --no-deps {ours}"

    def _uv(self) -> Iterator[str]:
        yield ""
        yield "with uv, in pyproject.toml (nothing installs it then, whatever requires it):"
        yield "  [tool.uv]"
        yield f'  override-dependencies = ["{_OVERRIDE}"]'
        yield "or on the command line:"
        yield f'  echo "{_OVERRIDE}" > overrides.txt'
        names = " ".join(_quote(f"{name}=={one[0]}") for name, one in self.requiring.items())
        yield f"  uv pip install --overrides overrides.txt eventtracking-legacy {names}".rstrip()
        if not self.is_sound:
            yield "  uv pip uninstall event-tracking"
            ours = " ".join(f"--reinstall-package {name}" for name, _ in _own_versions())
            yield f"  uv pip install --no-deps {ours} eventtracking eventtracking-legacy"

    def _constraints(self) -> Iterator[str]:
        yield ""
        yield "in a constraints file (an install that would bring event-tracking fails then, so"
        yield "that a mistake is seen; a constraint cannot leave it out):"
        yield "  event-tracking<0"


def check_environment() -> Report:
    """Look at the installed distributions; nothing is changed, and only our package imported."""
    requiring: dict[str, tuple[str, list[str]]] = {}
    former = None
    for found in importlib_metadata.distributions():
        name = found.metadata["Name"] or ""
        if _canonical(name) == _FORMER:
            former = found.version
            continue
        requirements = found.requires or ()
        if any(_is_former(one) for one in requirements):
            others = [one for one in requirements if not _is_former(one) and _applies(one)]
            requiring[name] = (found.version, others)
    names = {_canonical(name) for name in requiring}
    for _, others in requiring.values():  # these have a line of their own, without dependencies
        others[:] = [one for one in others if _name_of(one) not in names]
    return Report(former, dict(sorted(requiring.items())), _has_own_modules())


def _has_own_modules() -> bool:
    from eventtracking_django import predecessor

    return predecessor.has_own_modules()


def _own_versions() -> Iterator[tuple[str, str]]:
    for name in _OURS:
        yield name, importlib_metadata.version(name)


def _canonical(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _name_of(requirement: str) -> str:
    match = _NAME.match(requirement.strip())
    return "" if match is None else _canonical(match[0])


def _is_former(requirement: str) -> bool:
    return _name_of(requirement) == _FORMER


def _applies(requirement: str) -> bool:
    """Whether a requirement holds without an extra. Other markers are left to the installer."""
    return "extra ==" not in requirement.replace("extra==", "extra ==")


def _quote(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._=-]+", text):
        return text
    return f'"{text}"' if "'" in text else f"'{text}'"
