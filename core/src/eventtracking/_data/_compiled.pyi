from collections.abc import Callable
from datetime import datetime
from typing import Any

from eventtracking.event import Event

def bind(
    event_type: type[Event],
    make_id: Callable[[], object],
    valid_text: Callable[[str], str],
    as_utc: Callable[[datetime], datetime],
    /,
) -> None: ...
def capture(
    name: str, data: dict[str, Any] | None, context: dict[str, Any], clock: type[datetime], /
) -> Event: ...
def fast_copy(value: Any, /) -> Any: ...
