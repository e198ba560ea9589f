"""Set Django up once, with a small project of the tests' own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "project"))


@pytest.fixture(scope="session")
def django_project(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Configure Django with the project of these tests."""
    import project_settings
    from django.conf import settings

    values = {name: value for name, value in vars(project_settings).items() if name.isupper()}
    values["DATABASES"]["default"]["NAME"] = str(tmp_path_factory.mktemp("database") / "db.sqlite3")
    settings.configure(**values)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


@pytest.fixture(autouse=True)
def default_tracker(django_project: None) -> Iterator[None]:
    """Make the default tracker from the settings for each test, and put back the one of other
    tests.
    """
    from eventtracking.tracker import get_tracker, register_tracker
    from eventtracking_django.install import configure_default, register_default

    former = get_tracker()
    register_default()
    configure_default()
    yield
    get_tracker().close()
    register_tracker(former)
