"""The only console for terminal output: all text is escaped, and none is interpreted as markup.

Rich interprets brackets in a text as markup, and words between colons as emoji; a name such as
``pump[/a]`` would abort a command. So texts, cells of tables, titles and columns are escaped by
`visible`, wherever they are printed with this console. A `rich.text.Text` is printed unchanged:
use `line` to make one of foreign text.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from millrace.contracts.wire.visible import visible


class Terminal(Console):
    """A console that prints text literally."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to a text: escaped, in one line, without markup or emoji."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})


def line(text: str, style: str = "") -> Text:
    """A line of foreign text, escaped, that rich does not interpret as markup.

    Args:
        text: The text.
        style: Style of all of it.
    """
    return Text(visible(text), style=style)
