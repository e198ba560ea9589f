"""The README tells all that there is to meet.

(Its config and its program are run with those of all documents.)
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eventtracking.config.options import options_of
from eventtracking_mongo import failures
from eventtracking_mongo.backend import MongoBackend

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def beginning(text: str) -> str:
    """A text as far as the README quotes it."""
    return re.split(r" \(|:|, which", text)[0]


@pytest.mark.parametrize("option", options_of(MongoBackend))
def test_every_option(option: str) -> None:
    """Each option stands in the table of options."""
    table = README.partition("## Options")[2].partition("## What is stored")[0]
    assert f"`{option}`" in table


def test_every_reason_and_error() -> None:
    """Each reason to reject, and each cause of a failed delivery, is in the tables of errors."""
    errors = README.partition("## Errors")[2]
    texts = [
        *failures._OF_THE_DOCUMENT.values(),
        *failures._ACCESS.values(),
        *failures._TELLING.values(),
    ]
    assert [text for text in texts if beginning(text) not in errors] == []


def test_every_literal_text() -> None:
    """Each text that stands in the code of the modules that refuse is told, by how it begins."""
    source = "".join(
        (Path(failures.__file__).parent / name).read_text(encoding="utf-8")
        for name in ("address.py", "documents.py")
    )
    told = [
        "no valid MongoDB URI",
        "`uri` says where the server is already",
        "`password` is given without it",
    ]
    told += [
        "it names a user, and so do",
        "expected a name or an address; it is empty",
        "`host` holds a URI or a user",
    ]
    told += [
        "pymongo does not know, or refuses the value of",
        "larger than MongoDB takes",
        "nested deeper than MongoDB",
    ]
    told += [
        "an integer of more than 64 bits, or a time outside",
        "a key holds the character NUL",
        "cannot be encoded",
    ]
    assert [text for text in told if text not in source or text not in README] == []
