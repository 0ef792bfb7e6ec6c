"""``millrace edge``: the edge producers' commands, as they are."""

from producers.command_line import app as edge

__all__ = ["edge"]
