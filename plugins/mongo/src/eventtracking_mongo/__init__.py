"""The plugin `mongo`: events in MongoDB, acknowledged and stored once."""

from eventtracking.hookspecs import Register, hookimpl

__all__ = ["eventtracking_register_backends"]


@hookimpl
def eventtracking_register_backends(register: Register) -> None:
    """Register the backend."""
    from eventtracking_mongo.backend import MongoBackend

    register("mongo", MongoBackend)
