"""Places in the history, as clients send and get them: a time, and behind it perhaps the batch of a price.

    parse_cursor("2026-02-28T03:55:00Z")            # before all prices of that time: where a client chooses to begin
    cursor_text(page.next)                          # 2026-02-28T03:55:00.000Z_ffffffffffffffffffffffffffffffff

A time can be read, compared and made up: a client may jump to last year with nothing fetched before.
"""

import re
from typing import Annotated
from uuid import UUID

from pydantic import PlainValidator, WithJsonSchema

from core.history import Cursor
from core.prices import iso_ms
from server.inputs import parse_moment

# Like a date; the rest of either form no pattern tells well.
_BEGINNING = "^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_BATCH = re.compile(r"[0-9a-f]{32}")


def cursor_text(cursor: Cursor) -> str:
    """A place as it is sent."""
    return f"{iso_ms(cursor.fetched_at)}_{cursor.batch_id.hex}"


def parse_cursor(text: object) -> Cursor:
    """Read a place, or raise ValueError."""
    time, found, batch = str(text).partition("_")
    if not found:
        return Cursor(parse_moment(time))
    if _BATCH.fullmatch(batch) is None:
        raise ValueError("not a batch")
    return Cursor(parse_moment(time), UUID(hex=batch))


Before = Annotated[Cursor, PlainValidator(parse_cursor), WithJsonSchema({"type": "string", "pattern": _BEGINNING})]
