"""The config: every problem at once, each with its path, what was there, what is accepted, and what
to do next.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from eventtracking_fakes import RECORDED

import eventtracking
from eventtracking import ConfigError, Problem, Tracker
from eventtracking.config import advice, load_file, parse
from eventtracking.config.files import FileConfig

pytestmark = pytest.mark.needs("regex_filter")


def problems(config: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(config)
    return [str(problem) for problem in caught.value.problems]


def in_file(config: dict[str, Any]) -> FileConfig:
    """The config, as if it had been read from a file."""
    return FileConfig(config)


def backend(**options: Any) -> dict[str, Any]:
    return {"backends": {"a": {"plugin": "recording", **options}}}


def test_all_problems_come_at_once_in_the_order_of_the_config() -> None:
    """Six mistakes, six problems, each with its place."""
    found = problems(
        {
            "processors": [{"plugin": "stamp", "kye": "x"}],
            "backends": {
                "a": {"plugin": "recording", "size": 10, "mode": "faste"},
                "b": {"plugin": "recordin"},
                "c": {},
                "d": {"plugin": "recording", "backends": {"x": {"plugin": "recording"}}},
            },
        }
    )
    assert found == [
        "processors[0].kye: stamp has no option 'kye'; it takes key; did you mean 'key'?",
        "backends.a.size: expected an integer, at least 1 and at most 9; found 10",
        'backends.a.mode: expected one of "fast", "safe"; found "faste"; did you mean \'fast\'?',
        next(
            text
            for text in found
            if text.startswith("backends.b.plugin: unknown backend; installed plugins are ")
        ),
        "backends.c: a route needs `plugin`, the name of a backend, or `backends`, to be a group",
        "backends.d.backends: recording is a backend, not a router, and takes no backends below it",
    ]
    assert found[3].endswith("found \"recordin\"; did you mean 'recording'?")


def test_a_plugin_that_is_not_installed_says_what_to_install() -> None:
    """It is another error than a misspelled name, and an import path is yet another."""
    (missing,) = problems({"backends": {"a": {"plugin": "zz_warehouse"}}})
    assert missing.startswith(
        "backends.a.plugin: the backend is not installed; installed plugins are "
    )
    assert missing.endswith(
        'found "zz_warehouse"; pip install eventtracking-zz-warehouse if it is one of'
        " eventtracking's; if it is your own, see that its distribution is installed and has an"
        " entry point 'zz_warehouse' in the group 'eventtracking'"
    )
    (path,) = problems({"backends": {"a": {"plugin": "some.module.Class"}}})
    assert path.endswith("a plugin is called by its name, never by an import path or a class")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ([], "config: expected a mapping; found a list"),
        (
            "events.toml",
            (
                "config: expected a mapping; found a str; read a file with"
                " eventtracking.configure(path)"
            ),
        ),
        (
            {"backend": {}},
            (
                "backend: unknown key; accepted are processors, backends, observers, values,"
                " context, strict; did you mean 'backends'?"
            ),
        ),
        ({"backends": []}, "backends: expected a table; found []"),
        (
            {"backends": {"a": 5}},
            "backends.a: expected a table with `plugin` or `backends`; found a value of type int",
        ),
        (
            {"backends": {"a/b": {"plugin": "recording"}}},
            'backends.a/b: the name of a route must be text without `/`; found "a/b"',
        ),
        (
            {"backends": {"a": {"plugin": None}}},
            "backends.a.plugin: expected the name of a backend; found null",
        ),
        (
            {"processors": [{"plugin": None}]},
            "processors[0].plugin: expected the name of a processor; found null",
        ),
        ({"strict": 1}, "strict: expected true or false; found 1"),
        (
            in_file(backend(key="${NOPE:-${OTHER}}")),
            (
                "backends.a.key: a default stands for itself, and takes no further reference; "
                "set the variable, or write a default without ${"
            ),
        ),
        (
            {"backends": {"a": {"plugin": 5}}},
            "backends.a.plugin: expected the name of a backend; found 5",
        ),
        (
            {"backends": {"a": {"plugin": "stamp"}}},
            "backends.a.plugin: expected a backend, and 'stamp' is a processor; found \"stamp\"",
        ),
        (
            {"backends": {"a": {"plugin": "passing"}}},
            "backends.a.backends: the router passing needs at least one backend below it",
        ),
        (
            {"backends": {"a": {"plugin": "recording", "on_error": "drop"}}},
            "backends.a.on_error: only a processor takes on_error",
        ),
        (
            {"backends": {"g": {"key": 1, "backends": {"a": {"plugin": "recording"}}}}},
            "backends.g.key: a group without `plugin` takes only processors and backends",
        ),
        (
            {"processors": {}},
            "processors: expected a list of tables; found {}; in TOML: [[processors]]",
        ),
        ({"processors": "stamp"}, 'processors: expected a list of tables; found "stamp"'),
        (
            {"processors": ["stamp"]},
            'processors[0]: expected a table with `plugin`, the name of a processor; found "stamp"',
        ),
        (
            {"processors": [{"plugin": "stamp", "on_error": "ignore"}]},
            'processors[0].on_error: expected "drop" or "pass"; found "ignore"',
        ),
        (
            {"processors": [{"plugin": "recording"}]},
            (
                "processors[0].plugin: expected a processor, and 'recording' is a backend; found"
                ' "recording"'
            ),
        ),
        (
            {"processors": [{"plugin": "stamp", "backends": {}}]},
            "processors[0].backends: a processor takes no backends",
        ),
        ({"strict": "yes"}, 'strict: expected true or false; found "yes"'),
        ({"context": 5}, "context: expected a table; found 5"),
        (
            {"processors": [{"plugin": "by_name"}]},
            (
                "processors[0].name: by_name needs the option 'name' (text); see `eventtracking"
                " plugins by_name`"
            ),
        ),
        (backend(ratio=2.0), "backends.a.ratio: 'ratio' must be < 1.0: 2.0; found 2.0"),
    ],
)
def test_each_mistake_has_its_own_words(config: Any, expected: str) -> None:
    """The whole message is compared, because it is all that a user has."""
    assert problems(config) == [expected]


def test_variables_are_substituted_in_text_only_after_parsing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number may come from one, a default may stand in, and `$$` is a dollar; a value never
    becomes syntax.
    """
    monkeypatch.setenv("SIZE", "7")
    monkeypatch.setenv("KEY", 'a" = ${SIZE}')
    tracker = Tracker.from_config(in_file(backend(size="${SIZE}", key="${KEY}-${NONE:-x}-$$-$5")))
    tracker.emit("x")
    assert list(RECORDED) == ['a" = ${SIZE}-x-$-$5']


def test_errors_quote_the_text_before_substitution(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment holds may be secret, so it is never shown."""
    monkeypatch.setenv("SIZE", "hush")
    assert problems(in_file(backend(size="${SIZE}", mode="${UNSET}", key="${"))) == [
        (
            "backends.a.mode: the environment variable UNSET is not set; found ${UNSET}; set it, or"
            " write ${UNSET:-default}"
        ),
        (
            "backends.a.key: `${` starts no reference; accepted are ${VAR} and ${VAR:-default};"
            " write $${ for the text itself"
        ),
        'backends.a.size: expected an integer, at least 1 and at most 9; found "${SIZE}"',
    ]


def test_a_place_has_one_problem() -> None:
    """A variable that is not set is told once, not as a wrong value, too; the plugin is not built
    without the value.
    """
    config = {
        "processors": [{"plugin": "by_name", "name": "${UNSET}"}],
        **backend(size="${UNSET}", mode="faste"),
    }
    assert [problem.partition(": ")[0] for problem in problems(in_file(config))] == [
        "processors[0].name",
        "backends.a.size",
        "backends.a.mode",
    ]


def test_what_is_for_one_node_alone_is_refused_to_others() -> None:
    """Two nodes of one config that want the same thing for themselves are told of each other; two
    configs are not.
    """
    config = {
        "backends": {
            "a": {"plugin": "owning", "thing": "t"},
            "b": {"plugin": "owning", "thing": "t"},
        }
    }
    assert problems(config) == [
        (
            "backends.b.thing: it is that of another node already, and must be its own; "
            "give it one that backends.a.thing does not have"
        )
    ]
    for _ in range(2):
        parse(
            {
                "backends": {
                    "a": {"plugin": "owning", "thing": "t"},
                    "b": {"plugin": "owning", "thing": "u"},
                }
            }
        )


def test_an_exclusive_that_is_something_else_is_a_problem() -> None:
    """A method of that name that core cannot use is told, not crashed upon."""
    assert problems({"backends": {"a": {"plugin": "owning", "thing": "wrong"}}}) == [
        "backends.a: Owning.exclusive() raised ValueError; it must return a mapping by option"
    ]


def test_a_class_that_breaks_on_its_options_is_named() -> None:
    """Anything but a validator's words tells which class it was and what it raised."""
    assert problems({"backends": {"a": {"plugin": "owning", "thing": ""}}}) == [
        "backends.a: Owning raised ZeroDivisionError: division by zero"
    ]


def test_text_is_no_number_unless_it_came_from_a_variable() -> None:
    """A quoted number in a file is a mistake."""
    assert problems(backend(size="7")) == [
        'backends.a.size: expected an integer, at least 1 and at most 9; found "7"'
    ]


def test_secrets_never_show() -> None:
    """Neither in a type error, nor in a validator's, nor in the object's repr."""
    for text in problems(backend(password=["hunter2"])) + problems(
        backend(password="2.0", ratio=2.0)
    ):
        assert "hunter2" not in text
    assert problems(backend(password="2.0", ratio=2.0)) == [
        "backends.a.ratio: 'ratio' must be < 1.0: ***; found 2.0"
    ]
    spec = parse(backend(password="hunter2"))
    assert "hunter2" not in repr(spec.routes[0].instance)


def test_config_errors_pickle_and_carry_the_facts() -> None:
    """The command line and Celery move them; programs read the attributes."""
    with pytest.raises(ConfigError) as caught:
        parse(backend(size=0))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.problems == (
        Problem(
            path="backends.a.size",
            message="expected an integer, at least 1 and at most 9",
            found="0",
        ),
    )
    assert (
        str(copy)
        == "the config has 1 problem:\n  backends.a.size: expected an integer, at least 1 and at"
        " most 9; found 0"
    )


def test_files_are_toml_or_json(tmp_path: Path) -> None:
    """The same tree from either; a file that cannot be read or parsed says so with its name."""
    config = backend(key="k")
    (tmp_path / "c.json").write_text(json.dumps(config))
    (tmp_path / "c.toml").write_text('[backends.a]\nplugin = "recording"\nkey = "k"\n')
    (tmp_path / "bad.toml").write_text("[backends\n")
    (tmp_path / "list.json").write_text("[]")
    assert load_file(tmp_path / "c.json") == load_file(tmp_path / "c.toml") == config
    for name, text in {
        "bad.toml": "cannot be parsed: ",
        "none.toml": "cannot be read: No such file or directory",
        "list.json": "expected a table; found a list",
    }.items():
        with pytest.raises(ConfigError, match=text):
            load_file(tmp_path / name)
    tracker = eventtracking.configure(tmp_path / "c.toml")
    tracker.emit("x")
    tracker.close()
    assert len(RECORDED["k"]) == 1


def test_a_failed_configure_leaves_the_tracker_as_it_was() -> None:
    """A reload with a mistake does not stop the events."""
    tracker = Tracker.from_config(backend(key="k"))
    with pytest.raises(ConfigError):
        tracker.configure(backend(key=5))
    tracker.emit("x")
    assert len(RECORDED["k"]) == 1


def test_children_run_in_the_order_of_the_config() -> None:
    """Not in that of the alphabet."""
    config = {"backends": {name: {"plugin": "recording", "key": name} for name in ("z", "a", "m")}}
    tracker = Tracker.from_config(config)
    tracker.emit("x")
    assert list(RECORDED) == ["z", "a", "m"]
    assert list(tracker.stats()) == ["", "z", "a", "m"]


def test_check_advises_against_a_network_in_the_request() -> None:
    """A blocking backend without a router above it is allowed, and advised against."""
    spec = parse(
        {
            "backends": {
                "bad": {"backends": {"slow": {"plugin": "failing"}}},
                "good": {"plugin": "holding", "backends": {"slow": {"plugin": "failing"}}},
            }
        }
    )
    assert [str(problem) for problem in advice(spec)] == [
        (
            "backends.bad.backends.slow: failing talks to a network, and no router stands above it,"
            " so that each emit() waits for it; put it below a buffer"
        )
    ]
    assert [problem.path for problem in advice(parse({}))] == ["backends"]


def test_processors_may_be_a_tuple() -> None:
    """Settings files in Python use them."""
    parse({"processors": ({"plugin": "stamp"},), "backends": {"a": {"plugin": "recording"}}})


def test_a_value_from_a_variable_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a reference may stand, an error quotes the reference."""
    monkeypatch.setenv("TOKEN", "hunter2")
    wrong = {
        "processors": "${TOKEN}",
        "context": "${TOKEN}",
        "strict": "${TOKEN}",
        "backends": {
            "a": {"plugin": "${TOKEN}"},
            "b": {"plugin": "recording", "processors": "${TOKEN}"},
            "c": {
                "plugin": "recording",
                "processors": [{"plugin": "stamp", "on_error": "${TOKEN}"}],
            },
            "d": {"backends": "${TOKEN}"},
        },
    }
    found = problems(in_file(wrong))
    assert len(found) == 7
    assert not [
        text
        for text in found
        if "hunter2" in text or ("${TOKEN}" not in text and "a route needs" not in text)
    ]


def test_a_secret_that_an_error_quotes_is_hidden_in_each_form() -> None:
    """As it is, as Python writes it, and as JSON does."""
    assert problems(
        {"backends": {"a": {"plugin": "telling", "secret": 'it\'s a \\ "secret"'}}}
    ) == ["backends.a: no such thing as '***' or \"***\""]


def test_what_is_wrong_in_a_list_is_told_of_each_member() -> None:
    """And what a class says of some options, though others have problems of their own."""
    config = {
        "processors": [
            {
                "plugin": "regex_filter",
                "filter_type": "allowlist",
                "match": "ful",
                "mach": 1,
                "regular_expressions": ["(", "a"],
            }
        ]
    }
    assert [text.partition(":")[0] for text in problems(config)] == [
        "processors[0].mach",
        "processors[0].match",
        "processors[0].regular_expressions[0]",
    ]
    config = {
        "processors": [
            {
                "plugin": "regex_filter",
                "filter_type": "allowlist",
                "regular_expressions": [1, "a", None],
            }
        ]
    }
    assert [text.partition(":")[0] for text in problems(config)] == [
        "processors[0].regular_expressions[0]",
        "processors[0].regular_expressions[2]",
    ]


def test_a_config_without_end_is_refused(tmp_path: Path) -> None:
    """A cycle, and a file with more levels than the stack has room for, are problems, not
    crashes.
    """
    endless: dict[str, Any] = {"backends": {}}
    endless["backends"]["a"] = endless
    assert problems(endless) == [
        "config: nested too deeply: more levels than Python's stack has room for, or a cycle"
    ]
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"deep\.json: nested too deeply"):
        load_file(tmp_path / "deep.json")


def test_a_mark_at_the_beginning_of_a_file_does_not_matter(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    (tmp_path / "c.toml").write_text('\ufeff[backends.a]\nplugin = "recording"\n', encoding="utf-8")
    assert load_file(tmp_path / "c.toml") == backend()
