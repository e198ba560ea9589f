import attrs

from eventtracking import hookimpl


@attrs.define(eq=False)
class StdoutBackend:
    """Print each event's name."""

    prefix: str = attrs.field(default="", metadata={"help": "Text before each name."})

    def send(self, events):
        for event in events:
            print(self.prefix + event.name)


@hookimpl
def eventtracking_register_backends(register):
    register("stdout", StdoutBackend)
