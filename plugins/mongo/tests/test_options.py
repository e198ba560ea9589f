"""Options that contradict each other, and secrets, without a server."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import quote_plus

import pytest

from eventtracking import ConfigError, OptionsError, Tracker
from eventtracking_mongo.address import Address
from eventtracking_mongo.backend import MongoBackend

ODD = "p@ss:w/ord?#[]%40 %é&=$+\\'\""


def problems(**options: Any) -> dict[str, str]:
    """What is wrong with options; nothing of a password stands in it."""
    with pytest.raises(OptionsError) as caught:
        MongoBackend(**options)
    assert "hunter" not in str(caught.value)
    return caught.value.problems


def test_nothing_need_be_given() -> None:
    """Without any option it is the server of this machine."""
    assert str(MongoBackend()._address) == "localhost:27017"


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ({"uri": f"mongodb://me:{quote_plus(ODD)}@one:1,two:2/db?replicaSet=rs0"}, "one:1,two:2"),
        ({"uri": "mongodb+srv://me:secret@cluster.example.org/?appName=x"}, "cluster.example.org"),
        ({"host": "one"}, "one:27017"),
        ({"host": ["one:1", "two"], "port": 3}, "one:1,two:3"),
        ({"host": "one:1, two"}, "one:1,two:27017"),
        ({"host": "[::1]:5"}, "[::1]:5"),
    ],
)
def test_where_it_is(options: dict[str, Any], hosts: str) -> None:
    """Errors name the hosts, and neither the user nor the password."""
    assert str(MongoBackend(**options)._address) == hosts


def test_options_that_exclude_each_other() -> None:
    """A place or a user that is named twice, and a password of nobody, are refused, each at its
    option.
    """
    uri = "mongodb://h/"
    assert problems(uri=uri, host="h", port=1) == {
        "host": "`uri` says where the server is already: leave out `host`, or `uri`",
        "port": "`uri` says where the server is already: leave out `port`, or `uri`",
    }
    assert problems(uri="mongodb://me:hunter@h/", user="me", password="hunter") == {
        "uri": "it names a user, and so do `user` or `password`: name one in one place"
    }
    assert problems(host="h", password="hunter") == {"user": "`password` is given without it"}
    assert problems(host="h", user="me") == {"password": "`user` is given without it"}
    assert problems(host="h", write_concern=0, extra={"journal": True}).keys() == {"write_concern"}
    assert problems(uri="mongodb://h/?journal=true", write_concern=0).keys() == {"write_concern"}
    assert set(problems(host=[])) == set(problems(host="")) == {"host"}


@pytest.mark.parametrize("host", ["::1", "[::1", "h:99999", "h:port", ["good", "h:0:1"]])
def test_hosts_that_are_none(host: Any) -> None:
    """They are found when the config is read."""
    text = "expected a name or an address, with or without a port: name, name:port or [IPv6]:port"
    assert problems(host=host) == {"host": text}


def test_a_user_without_a_password() -> None:
    """There are ways to authenticate without one."""
    extra = {"authMechanism": "MONGODB-X509"}
    assert MongoBackend(host="h", user="me", extra=extra)._address.arguments["username"] == "me"


def test_a_user_may_stand_beside_a_uri() -> None:
    """A URI without a user goes with `user` and `password`."""
    address = MongoBackend(uri="mongodb://h/?replicaSet=x", user="me", password=ODD)._address
    assert address.arguments == {
        "host": "mongodb://h/?replicaSet=x",
        "username": "me",
        "password": ODD,
    }


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://me:hunter@2/word@h/",
        "mongodb://me:hunter%@h/",
        "mongodb://me:hunter/2@h:27017/",
        "mongodb://me:pa?hunter=2@h/",
        "mongodb+srv://me:p/hunter@h.example.org/",
        "mongodb+srv://me:p?hunter2=3@h.example.org/",
        "mongodb://me:pw@h/?tls=true&tlsCertificateKeyFilePassword=top@hunter",
        "mongodb://me:hunter@h:port/",
        "http://me:hunter@h/",
        "mongodb://",
        "mongodb+srv://",
        "hunter",
    ],
)
def test_a_wrong_uri_is_not_quoted(uri: str) -> None:
    """What cannot be read as a URI is refused at config time, in words that hold no part of it."""
    found = problems(uri=uri)
    assert set(found) == {"uri"}
    assert found["uri"].startswith("no valid MongoDB URI: expected mongodb://")


def test_an_empty_user_is_none() -> None:
    """A user and a password that are empty, as unset variables make them, are none at all."""
    assert MongoBackend(host="h", user="", password="")._address.arguments == {"host": ["h"]}


@pytest.mark.parametrize(
    ("options", "limited"),
    [
        ({"host": "h"}, False),
        ({"uri": "mongodb://h/?replicaSet=rs0"}, False),
        ({"uri": "mongodb://h/?connectTimeoutMS=100"}, True),
        ({"host": "h", "extra": {"connectTimeoutMS": 100}}, True),
    ],
)
def test_a_limit_for_connecting_has_precedence(options: dict[str, Any], limited: bool) -> None:
    """Whoever says how long connecting to one server may take is not overruled by `timeout_s`."""
    assert MongoBackend(**options)._address.limits_connecting is limited


def test_wrong_options_in_a_uri_are_named() -> None:
    """An unknown option, and a value that the driver refuses, are named, without the value."""
    found = problems(uri="mongodb://me:hunter@h/?connectTimeoutMS=hunter2&replicaSet=rs0&writes=1")
    assert found == {
        "uri": "pymongo does not know, or refuses the value of: connectTimeoutMS, writes"
    }


def test_a_uri_in_host_is_not_shown() -> None:
    """A URI that is given as `host` is refused, and its password not shown in the whole config
    error.
    """
    config = {"backends": {"it": {"plugin": "mongo", "host": "mongodb://me:hunter@h/"}}}
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config(config)
    assert str(caught.value) == (
        "the config has 1 problem:\n  backends.it.uri: `host` holds a URI or a user: "
        "give a URI as `uri`, or name, user and password each by itself"
    )


def test_extra_takes_what_pymongo_knows() -> None:
    """Options of pymongo pass; what is ours, and what it does not know or refuses, is named."""
    extra = {
        "tls": True,
        "replicaSet": "rs0",
        "authSource": "admin",
        "tlsCAFile": "not/there/yet.pem",
    }
    assert Address.checked(None, "h", None, None, None, extra).arguments == {"host": ["h"], **extra}
    assert problems(extra={"timeoutMS": 1, "w": 1, "tlss": True, "maxPoolSize": "hunter"}) == {
        "extra.timeoutMS": "not here: give it as `timeout_s`",
        "extra.w": "not here: give it as `write_concern`",
        "extra.tlss": "pymongo's MongoClient has no such option, or refuses its value",
        "extra.maxPoolSize": "pymongo's MongoClient has no such option, or refuses its value",
    }


def test_repr_shows_no_secret() -> None:
    """Neither the URI, nor the password, nor pymongo's own options are shown."""
    first = MongoBackend(
        uri=f"mongodb://me:{quote_plus(ODD)}@h/", extra={"tlsCertificateKeyFilePassword": "hunter"}
    )
    second = MongoBackend(host="h", user="me", password=ODD)
    for shown in (repr(first), repr(second), repr(second._address)):
        assert ODD not in shown
        assert quote_plus(ODD) not in shown
        assert "hunter" not in shown


def test_wrong_types_are_told_together() -> None:
    """Every option that does not fit is told at once, with its place and what is accepted."""
    wrong = {
        "port": 0,
        "database": "a b",
        "collection": "system.users",
        "write_concern": 2,
        "expire_after_s": 0,
        "timeout_s": 0,
        "urii": "x",
    }
    with pytest.raises(ConfigError) as caught:
        Tracker.from_config({"backends": {"it": {"plugin": "mongo", **wrong}}})
    assert {problem.path for problem in caught.value.problems} == {
        f"backends.it.{name}" for name in wrong
    }


@pytest.mark.process
def test_a_config_imports_the_driver_and_opens_nothing() -> None:
    """Building a tracker makes no client and starts no thread."""
    code = """if True:
        import threading
        from eventtracking import Tracker
        from eventtracking_mongo import connection
        connection.MongoClient = None
        Tracker.from_config({"backends": {"it": {"plugin": "mongo", "uri": "mongodb://nowhere.invalid/"}}})
        assert threading.active_count() == 1
    """
    subprocess.run([sys.executable, "-c", code], check=True)
