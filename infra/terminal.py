"""The only way to a terminal: whatever is printed is escaped, and none of it is markup.

Rich takes brackets in a text for markup, and words between colons for pictures; a name such
as ``pump[/a]`` would end a command. So texts, cells of tables, titles and columns go through
`visible`, wherever they are printed with this console. A `rich.text.Text` is printed as it is:
make one of somebody else's text with `line`.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from millrace.contracts.wire.visible import visible


class Terminal(Console):
    """A console that shows texts as they are."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string: escaped, in one line, without markup or pictures."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})


def line(text: str, style: str = "") -> Text:
    """A line of somebody else's text, for what rich would take for markup otherwise.

    Args:
        text: The text.
        style: Style of all of it.
    """
    return Text(visible(text), style=style)
