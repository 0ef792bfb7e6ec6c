r"""Somebody else's text, so that it does nothing to a terminal, a log or a page.

Whatever is not printable is shown as Python would write it: control characters of both sets,
line breaks, marks that turn the direction of writing, characters that have no width. Nothing
else changes. Names, details and headers come from records that anybody may have written.

>>> print(visible("pump\x1b[2J\n\u202e"), visible("pump[/a] Größe"))
pump\x1b[2J\n\u202e pump[/a] Größe
"""

from __future__ import annotations

import json


def visible(text: str) -> str:
    """Escape what is not printable; one line comes of any text."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible_json(data: bytes) -> str:
    """Text of a JSON document that says the same, with what is not printable escaped.

    Outside of strings JSON has line breaks only, and those stay.

    Args:
        data: The document, UTF-8.
    """
    text = data.decode()
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
