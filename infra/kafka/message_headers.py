"""Reads the headers of a record that confluent-kafka has delivered.

The client fails where a header's name is not UTF-8: it returns a list with null pointers and an
error at the same time. Python reports that as a `SystemError`, but only where it checks the result:
from 3.11 on a method call that was run some times is specialised and is not checked, and using the
list then ends the process. So the method is called through `operator.methodcaller`, whose calls are
always checked, and once only: a second call returns the list without the error.
"""

from __future__ import annotations

from operator import methodcaller
from typing import Final

from confluent_kafka import Message

from millrace.contracts.headers import RawHeaders

_call: Final = methodcaller("headers")


def message_headers(message: Message) -> RawHeaders | None:
    """Return a record's headers, null values as empty ones; call it once for a message.

    Returns:
        The headers; None if the name of one is not UTF-8: then none of them can be read.
    """
    try:
        found: list[tuple[str, bytes | None]] = _call(message) or []
    except (SystemError, UnicodeError):
        return None
    return [(name, value or b"") for name, value in found]
