"""The environments of those we compare with: each has its own, in exact versions, made on first use
below `.venvs/`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from _table import Unavailable

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))

import workspace  # noqa: E402 - found where the line above says

__all__ = ["OURS", "PEERS", "PREDECESSOR", "python_of"]

OURS = "ours"
PREDECESSOR = "predecessor"
PEERS = "peers"


def python_of(name: str) -> Path:
    """Return the interpreter of an environment; make or renew it if what it needs has changed.

    Raises:
        Unavailable: If it cannot be made, most likely for want of a package index.
    """
    if name == OURS:
        return Path(sys.executable)
    folder = HERE / ".venvs" / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    requirements = HERE / "requirements" / f"{name}.txt"
    stamp = folder / "up-to-date"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != requirements.read_text(
        encoding="utf-8"
    ):
        _make(folder, requirements)
        stamp.write_text(requirements.read_text(encoding="utf-8"), encoding="utf-8")
    return folder / "bin" / "python"


def _make(folder: Path, requirements: Path) -> None:
    print(f"making the environment {folder.name} ...", file=sys.stderr, flush=True)
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    python = folder / "bin" / "python"
    try:
        workspace.uv("venv", "--quiet", "--clear", "--python", sys.executable, folder)
        workspace.uv(
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            python,
            "-r",
            requirements,
        )
    except (subprocess.CalledProcessError, OSError) as error:
        raise Unavailable(f"the environment {folder.name} cannot be made: {error}") from error
