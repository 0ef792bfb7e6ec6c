"""``millrace edge``: the edge producers' commands, as they are."""

from millrace.producers.command_line import app as edge

__all__ = ["edge"]
