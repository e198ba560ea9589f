"""The command `check-plugin`: it finds the faults that need no destination."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.needs("cli"), pytest.mark.once]


def check_plugin(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from eventtracking_cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "check-plugin", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )


@pytest.mark.timeout(180)
def test_a_good_plugin_passes(tmp_path: Path) -> None:
    """Its options may be given as text or as TOML; nothing is made in the working folder."""
    done = check_plugin("regex_filter", "-o", "filter_type=allowlist",
                        "-o", "regular_expressions=['a']", folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(180)
def test_a_broken_plugin_fails(tmp_path: Path) -> None:
    """An option without a help is found, and named."""
    (tmp_path / "acme_bad.py").write_text(
        "import attrs\n"
        "from eventtracking import hookimpl\n"
        "@attrs.define(eq=False)\n"
        "class Bad:\n"
        "    size: int = 1\n"
        "    def send(self, events): ...\n"
        "@hookimpl\n"
        "def eventtracking_register_backends(register):\n"
        "    register('bad', Bad)\n"
    )
    info = tmp_path / "acme_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[eventtracking]\nbad = acme_bad\n")
    code = (
        f"import os, sys; sys.path.insert(0, {str(tmp_path)!r});"
        f" os.environ['PYTHONPATH'] = {str(tmp_path)!r};"
        " from eventtracking_cli.app import main; main(['check-plugin', 'bad'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 1
    assert "size has no metadata={'help': ...}" in done.stdout


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "no installed distribution provides a plugin named 'nope'"),
        (("regex_filter",), "add -o filter_type=VALUE -o regular_expressions=VALUE"),
        (("regex_filter", "-o", "x"), "expected KEY=VALUE; found 'x'"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """An unknown plugin, a missing option and a malformed one each have their message."""
    done = check_plugin(*arguments, folder=tmp_path)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
