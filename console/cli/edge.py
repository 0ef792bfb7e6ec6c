"""``millrace edge``: the edge producers' own commands, unchanged."""

from millrace.producers.command_line import app as edge

__all__ = ["edge"]
