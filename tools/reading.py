"""Do what a document's blocks say, as a reader would, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import servers
import workspace
from documents import Block, found_in

TIMEOUT_S = 120
CONFIG = "eventtracking.toml"
INSTALL = """
import os, sys, tempfile, zipfile
from hatchling.build import build_wheel
os.chdir(sys.argv[1])
folder = tempfile.mkdtemp()
zipfile.ZipFile(os.path.join(folder, build_wheel(folder))).extractall(sys.argv[2])
"""
BUILD = f"import eventtracking; eventtracking.configure({CONFIG!r})"


class Reader:
    """A reader with an environment, who does one block after the other.

    Args:
        folder: Where the reader works.
        python: The interpreter of the environment; its commands come first on PATH.
        variables: More environment variables.
    """

    def __init__(self, folder: Path, python: Path, variables: Mapping[str, str]) -> None:
        path = f"{python.parent}:{os.environ['PATH']}"
        self.folder = folder
        self.interpreter = str(python)
        self.env = {**os.environ, **variables, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
        self.printed = ""

    def do(self, block: Block) -> str:
        """Do what one block says; return the problem, if there is one."""
        if block.mark == "file":
            self.write(block.argument, block.text)
        elif block.mark == "part":
            return self.part(block.argument, block.text)
        elif block.mark == "served":
            return self.serve(block.text.removeprefix("$ ").strip(), block.argument)
        elif block.mark == "installed":
            return self.install(block.argument)
        elif block.mark == "output":
            return difference(block.text, self.printed)
        elif block.mark == "run":
            return {"python": self.python, "toml": self.toml, "console": self.console}[
                block.language
            ](block.text)
        return ""

    def write(self, name: str, text: str) -> None:
        """Save a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def part(self, name: str, text: str) -> str:
        """Compare with a file that an earlier block has made: it must hold this text."""
        if found_in((self.folder / name).read_text(encoding="utf-8"), text):
            return ""
        return f"no part of {name}:\n{text}"

    def install(self, name: str) -> str:
        """Build the wheel of a distribution and unpack it on the path, as `pip install` would."""
        site = self.folder / "site-packages"
        self.env["PYTHONPATH"] = str(site)
        builder = str(workspace.ROOT / ".uv" / "bin" / "python")
        return self.run([builder, "-c", INSTALL, str(self.folder / name), str(site)])

    def python(self, text: str) -> str:
        """Run a program."""
        return self.run([self.interpreter, "-c", text])

    def toml(self, text: str) -> str:
        """Save a config, and build a tracker from it."""
        self.write(CONFIG, text)
        return self.run([self.interpreter, "-c", BUILD])

    def console(self, text: str) -> str:
        """Run each line that begins with a dollar, and compare what follows with what it prints."""
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            problem = self.run(["bash", "-c", command]) or difference(expected, self.printed)
            if problem:
                return f"$ {command}\n{problem}"
        return ""

    def serve(self, command: str, page: str) -> str:
        """Start a server, ask it for a page, and stop it; it listens at no port here."""
        with tempfile.TemporaryDirectory() as place:
            address = str(Path(place) / "socket")
            served = servers.at_socket(command, address)
            if not served:
                return f"no address to replace: {command}"
            with servers.started(["bash", "-c", f"exec {served}"], self.folder, self.env) as server:
                self.printed = server.answer(address, page)
            return server.problem()

    def run(self, command: list[str]) -> str:
        """Run a command; return its output with the exit status, if it fails."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
        self.printed = done.stdout
        return f"exit status {done.returncode}:\n{done.stdout}" if done.returncode else ""


def difference(expected: str, printed: str) -> str:
    """Compare, line ends aside; `...` stands for anything.

    Nothing expected means that anything may be printed.
    """
    if not expected.strip() or re.fullmatch(pattern(expected), tidy(printed), re.DOTALL):
        return ""
    return f"it should print:\n{expected}\nbut printed:\n{printed}"


def pattern(expected: str) -> str:
    """Turn expected text into a pattern, in which `...` matches anything."""
    return ".*".join(re.escape(part) for part in tidy(expected).split("..."))


def tidy(text: str) -> str:
    """Remove white space at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
