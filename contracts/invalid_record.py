"""An invalid record as a value; it is raised as an exception only inside decoding.

The reader of a topic turns it into a dead letter; it is never shown as a traceback.
"""

from __future__ import annotations

from typing import Self


class InvalidRecord(Exception):  # noqa: N818  (a finding about a record, not a failing program)
    """Why a record cannot be used.

    Attributes:
        reason: Short machine-readable reason, by which dead letters are counted.
        detail: The problem and its remedy, for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Set reason and detail."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def kept(self) -> Self:
        """This exception without its traceback, to be stored beside its record.

        The traceback references the variables of every function on the stack, hence the whole
        batch and the exception itself: such a cycle is freed only by the garbage collector.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self
