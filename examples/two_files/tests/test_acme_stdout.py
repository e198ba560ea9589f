from eventtracking import Tracker
from eventtracking_testkit.contracts import BackendContract


class TestStdout(BackendContract):
    """Inherits what every backend must keep."""

    plugin = "stdout"


def test_it_prints_the_names(capsys):
    """One line an event, with the prefix."""
    with Tracker.from_config(
        {"backends": {"out": {"plugin": "stdout", "prefix": "> "}}}
    ) as tracker:
        tracker.emit("a.b", {"secret": 1})
    assert capsys.readouterr().out == "> a.b\n"
