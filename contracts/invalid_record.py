"""A record that cannot be used: a value on the error branch, raised only inside decoding.

Whoever reads a topic turns it into a dead letter; it never reaches a person as a trace.
"""

from __future__ import annotations

from typing import Self


class InvalidRecord(Exception):  # noqa: N818  (a finding about a record, not a failing program)
    """Why a record cannot be used.

    Attributes:
        reason: Short machine-readable word, by which dead letters are counted.
        detail: What is wrong and how to mend it, for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Name the reason and say the detail."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def kept(self) -> Self:
        """This finding without its trace, to be kept beside its record.

        The trace holds the variables of every function on the way, hence the whole batch, and with
        it the finding itself: such a cycle is freed only when the garbage collector comes.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self
