r"""Escapes text of unknown origin, so that it cannot affect a terminal, a log or a page.

Characters that are not printable are shown as Python escapes: control characters (C0 and C1), line
breaks, bidirectional marks, characters of zero width. Nothing else changes. Names, details and
headers come from records that any producer may have written.

>>> print(visible("pump\x1b[2J\n\u202e"), visible("pump[/a] Größe"))
pump\x1b[2J\n\u202e pump[/a] Größe
"""

from __future__ import annotations

import json


def visible(text: str) -> str:
    """Escape characters that are not printable; the result is one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible_json(data: bytes) -> str:
    """Text of an equivalent JSON document, with characters that are not printable escaped.

    Outside of strings, line breaks are the only such characters in JSON, and those stay.

    Args:
        data: The document, UTF-8.
    """
    text = data.decode()
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
