"""`eventtracking migrate --check-environment` finds packages that would bring the old one back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventtracking_legacy.command import migrate
from eventtracking_legacy.environment import check_environment

pytestmark = pytest.mark.needs("cli")


def install(folder: Path, name: str, version: str, *requirements: str) -> None:
    """Make the metadata of an installed distribution."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requirements]
    (place / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


def test_a_package_that_requires_event_tracking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named with the commands for pip, uv and constraints, its other requirements included;
    one that requires it only in an extra is named, too.
    """
    install(
        tmp_path, "some-app", "9.3", "Event_Tracking>=1", "django>=4", "extra-one; extra == 'x'"
    )
    install(tmp_path, "other-app", "2.0", "event-tracking (>=1.0)", "some-app")
    install(tmp_path, "bystander", "1.0", "event-tracking-tools")
    monkeypatch.syspath_prepend(str(tmp_path))
    report = check_environment()
    assert list(report.requiring) == ["other-app", "some-app"]
    assert report.is_sound
    text = "\n".join(report.lines())
    assert "some-app 9.3 requires event-tracking" in text
    assert "pip install --no-deps some-app==9.3" in text
    assert "pip install 'django>=4'" in text
    assert "pip install some-app" not in text
    assert "extra-one" not in text
    assert "override-dependencies" in text
    assert "event-tracking<0" in text


def test_the_old_package_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed, the exit status is 1, and the commands put ours back."""
    install(tmp_path, "event-tracking", "4.0.2")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(migrate, ["--check-environment"])
    assert result.exit_code == 1
    assert "event-tracking 4.0.2 is installed" in result.output
    assert "pip uninstall --yes event-tracking" in result.output
    assert "pip install --force-reinstall --no-deps eventtracking==" in result.output


def test_an_environment_without_it() -> None:
    """Nothing is to be done, and the exit status is 0."""
    result = CliRunner().invoke(migrate, ["--check-environment"])
    assert (result.exit_code, "it is not installed" in result.output) == (0, True)
    assert CliRunner().invoke(migrate, []).exit_code == 2


@pytest.mark.process
def test_the_command_works_where_the_package_is_damaged(tmp_path: Path) -> None:
    """With the modules of event-tracking in the place of ours, the command says so, and how to put
    ours back.
    """
    package = tmp_path / "eventtracking"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "4.0.2"\n')
    (package / "tracker.py").write_text("TRACKERS = {}\n")
    install(tmp_path, "event-tracking", "4.0.2")
    code = "from eventtracking_cli.entry import main; main()"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot be imported" in done.stderr
    assert "pip install --force-reinstall --no-deps eventtracking==" in done.stderr
