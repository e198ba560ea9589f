"""Options: each is checked by itself, at every depth; secrets never show."""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import pytest

from eventtracking import ConfigError, OptionsError, Tracker, hookimpl
from eventtracking.config import load_file, parse
from eventtracking.config.files import FileConfig
from eventtracking.config.options import options_of
from eventtracking_testkit.distribution import fake_distribution


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


@attrs.frozen
class Login:
    user: str = attrs.field(metadata={"help": "Who."})
    password: str = attrs.field(default="", repr=False)
    mode: Level = Level.LOW


@attrs.frozen(kw_only=True)
class Tls:
    ca: Path | None = None
    login: Login | None = None
    depth: int = attrs.field(default=1, validator=attrs.validators.lt(9))


@attrs.define(eq=False, kw_only=True)
class Nesting:
    path: str = "x"
    tls: Tls = attrs.field(factory=Tls)
    logins: list[Login] = attrs.field(factory=list)
    by_name: dict[str, Login] = attrs.field(factory=dict)
    folder: Path = Path("here")
    level: Level = Level.LOW
    names: list[str] = attrs.field(factory=list)
    kind: str = attrs.field(default="a", validator=attrs.validators.in_(["a", "b"]))
    size: int = attrs.field(default=1, validator=attrs.validators.lt(9))
    key: str = attrs.field(default="", repr=False)

    def __attrs_post_init__(self) -> None:
        if "(" in self.names:
            raise OptionsError({"names[0]": f"bad pattern {self.names[0]!r}"})

    def send(self, events: Any) -> None:
        pass


@hookimpl
def eventtracking_register_backends(register: Any) -> None:
    register("nesting", Nesting)


@pytest.fixture(autouse=True)
def _installed() -> Any:
    with fake_distribution("nesting-dist", plugins={"nesting": Nesting}):
        yield


def config(**options: Any) -> dict[str, Any]:
    return {"backends": {"a": {"plugin": "nesting", **options}}}


def made(**options: Any) -> Any:
    return parse(config(**options)).routes[0].instance


def problems(mapping: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(mapping)
    return {found.path.removeprefix("backends.a."): str(found) for found in caught.value.problems}


def test_nested_classes_are_options_like_the_others() -> None:
    """By themselves, in lists and as the values of tables; paths and enums are understood."""
    one = made(
        tls={"ca": "a/b", "login": {"user": "u", "mode": "high"}},
        logins=[{"user": "v"}],
        by_name={"w": {"user": "w"}},
        folder="x/y",
        level="high",
    )
    assert one.tls == Tls(ca=Path("a/b"), login=Login("u", mode=Level.HIGH))
    assert (one.logins, one.by_name) == ([Login("v")], {"w": Login("w")})
    assert (one.folder, one.level) == (Path("x/y"), Level.HIGH)
    assert made(tls={"login": None}).tls.login is None
    assert options_of(Nesting)["folder"].schema["type"] == "string"


def test_mistakes_are_told_at_every_depth() -> None:
    """With path, accepted words, did-you-mean, and nothing of a secret."""
    found = problems(
        config(
            tls={"dept": 1, "login": {"user": 5, "password": ["hunter2"], "mode": "hihg"}},
            logins=[{"user": "u"}, {"pasword": "x"}, 7],
            by_name={"w": {"user": None}},
            level="hgih",
        )
    )
    assert list(found) == [
        "tls.dept",
        "tls.login.user",
        "tls.login.password",
        "tls.login.mode",
        "logins[1].pasword",
        "logins[1].user",
        "logins[2]",
        "by_name.w.user",
        "level",
    ]
    assert "did you mean 'depth'?" in found["tls.dept"]
    assert "did you mean 'password'?" in found["logins[1].pasword"]
    assert "did you mean 'high'?" in found["tls.login.mode"]
    assert "Who." in found["logins[1].user"]
    assert "hunter2" not in str(found)


def test_one_wrong_option_hides_no_other() -> None:
    """Types, validators and what the class itself refuses are told together."""
    found = problems(config(level="x", kind="c", size=10, names=["("], tls={"depth": 10, "ca": 5}))
    assert sorted(found) == ["kind", "level", "names[0]", "size", "tls.ca", "tls.depth"]


def test_values_from_variables_are_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a validator nor by the class itself, in whole or in part."""
    monkeypatch.setenv("V", "hunter2(")
    for options in (
        {"kind": "${V}"},
        {"names": ["(", "${V}"]},
        {"level": "${V}"},
        {"tls": {"ca": ["${V}"]}},
        {"tls": {"login": {"user": ["${V}"]}}},
    ):
        assert "hunter2" not in str(problems(FileConfig(config(**options))))


def test_options_of_a_route_that_stand_too_high_are_not_shown() -> None:
    """Where routes are expected, a value may be the password of one, at any depth."""
    for one in ("hunter2", ["hunter2"], 8439):
        misplaced = {"plugin": "mongo", "pasword": one}
        for node in ({"backends": misplaced}, {"backends": {"g": {"backends": misplaced}}}):
            assert not {"hunter2", "8439"} & set(re.findall(r"\w+", str(problems(node))))


@pytest.mark.parametrize(
    "value",
    [
        "mongodb://app:hunter2@db1:27017,db2/x?replicaSet=rs0",
        "key:hunter2@api.example.com",
        "redis+socket:///run/redis.sock?password=hunter2",
        "https://api.example.com/?access_token=hunter2",
        ["amqp://u:hunter2@h//"],
        {"uri": "mongodb://app:hunter2@h"},
        {"write_key": "hunter2"},
    ],
)
def test_what_looks_like_a_password_is_not_shown(value: Any) -> None:
    """Also at an option that is no secret, as the whole route, and in a spec's `repr`."""
    texts = [
        problems(config(kind=value)),
        problems(config(size=value)),
        problems({"backends": {"a": value}}),
        problems({"processors": [value], "context": [value]}),
    ]
    assert "hunter2" not in str(texts)
    assert "hunter2" not in repr(parse(config(key="hunter2")))
    assert "hunter2" not in repr(parse(config(key="hunter2")).routes[0])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_break_at_the_end_of_a_secret_is_told(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was read whole gives one; so may a variable."""
    monkeypatch.setenv("V", f"value{end}")
    for mapping in (
        config(key=f"value{end}"),
        FileConfig(config(path="${V}")),
        config(tls={"login": {"user": "u", "password": f"value{end}"}}),
    ):
        (text,) = problems(mapping).values()
        assert "ends in a line break" in text
    assert made(path="kept\n").path == "kept\n"


class Lazy:
    """A proxy of text, as Django's lazy texts are."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def casefold(self) -> str:
        return self.text.casefold()

    def encode(self) -> bytes:
        return self.text.encode()


def test_settings_may_have_the_types_of_python() -> None:
    """Paths, lazy text, tuples, sets and enums have a plain form."""
    one = made(path=Path("a") / "b", names={"x"}, folder=PurePosixPath("c"), level=Level.HIGH)
    assert (one.path, one.names, one.folder, one.level) == ("a/b", ["x"], Path("c"), Level.HIGH)
    assert made(path=Lazy("lazy"), names=("x",)).path == "lazy"
    tracker = Tracker.from_config({"context": {"host": Lazy("h"), "at": Path("p")}, **config()})
    assert tracker.resolve_context() == {"host": "h", "at": "p"}


@pytest.mark.parametrize("text", ["pa$$word", "a${HOME}b", "a${b", "$$$$", "a$b"])
def test_a_mapping_made_in_python_is_taken_as_it_is(text: str) -> None:
    """A password with a dollar arrives unchanged."""
    spec = parse({"context": {"a": text}, **config(key=text)})
    assert (spec.routes[0].instance.key, spec.context["a"]) == (text, text)


@pytest.mark.parametrize("text", ["${HOME}", "${HOME:-x}"])
def test_a_reference_in_python_is_a_problem(text: str) -> None:
    """It would be taken for the value itself."""
    found = problems({"context": {"a": [text]}, **config(key=text)})
    assert list(found) == ["context.a[0]", "key"]
    assert 'use os.environ["HOME"]' in found["key"]


def test_a_key_that_stands_twice_is_a_problem(tmp_path: Path) -> None:
    """In each format, at every depth, with its path."""
    texts = {
        "a.json": '{"backends": {"s": {"plugin": "a", "x": {"k": 1, "k": 2}}, "s": {}}}',
        "B.JSON": '{"context": {}, "context": {}}',
        "c.toml": '[backends.s]\nplugin = "a"\n[backends.s]\nplugin = "b"\n',
    }
    paths = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_file(tmp_path / name)
        paths.append([problem.path for problem in caught.value.problems])
    assert paths == [["backends.s.x.k", "backends.s"], ["context"], [str(tmp_path / "c.toml")]]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_is_no_json_is_refused(constant: str, tmp_path: Path) -> None:
    """Python's parser would take it."""
    (tmp_path / "c.json").write_text(json.dumps(config(size=1)).replace("1", constant))
    with pytest.raises(ConfigError, match="no JSON"):
        load_file(tmp_path / "c.json")
