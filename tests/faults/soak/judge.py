"""The oracle's verdict on a soak, stretch by stretch, in bounded memory.

A stretch ends when all is quiet: every record that was sent has its end then. Its records are
judged as those of any fault case are (`tests.faults.oracle.judge.judge`), and forgotten. What
belongs to none of its records is a **stranger**: a late effect of a stretch before, which was
whole without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from millrace.contracts.topics import SENSOR_WINDOWS
from tests.faults.harness.offsets import Committed
from tests.faults.oracle.evidence import Evidence
from tests.faults.oracle.judge import Violations

_EXAMPLES = 3


class Tally(msgspec.Struct):
    """What all stretches together come to.

    Attributes:
        stretches: How many were judged.
        sent: Records that were sent.
        predicted: Predictions.
        refused: Dead letters.
        missing: See `tests.faults.oracle.judge.judge`; so are the next five.
        strangers: Outputs that belong to no record of their stretch.
        words: Some of what is wrong.
    """

    stretches: int = 0
    sent: int = 0
    predicted: int = 0
    refused: int = 0
    missing: int = 0
    duplicated: int = 0
    repeated: int = 0
    out_of_order: int = 0
    mixed: int = 0
    rewound: int = 0
    strangers: int = 0
    words: list[str] = []

    @property
    def wrong(self) -> int:
        """All that is wrong."""
        return (
            self.missing
            + self.duplicated
            + self.repeated
            + self.out_of_order
            + self.mixed
            + self.rewound
            + self.strangers
        )

    def add(self, evidence: Evidence, found: Violations) -> None:
        """Count a stretch."""
        apart = strangers(evidence)
        self.stretches += 1
        self.sent += len(evidence.inputs)
        self.predicted += len(evidence.topics.predictions)
        self.refused += len(evidence.topics.refusals)
        self.missing += found.missing
        self.duplicated += found.duplicated
        self.repeated += found.repeated
        self.out_of_order += found.out_of_order
        self.mixed += found.mixed
        self.rewound += found.rewound
        self.strangers += len(apart)
        self.words += [*found.words, *apart[:_EXAMPLES]]


def strangers(evidence: Evidence) -> list[str]:
    """Find outputs of records that are not in the evidence."""
    known = {(record.partition, record.offset) for record in evidence.raw}
    topics = evidence.topics
    outputs = [
        *(("a prediction", p.source.partition, p.source.offset) for p in topics.predictions),
        *(("a stamped window", w.source.partition, w.source.offset) for w in topics.normalized),
        *(
            ("a dead letter", letter.partition, letter.offset)
            for letter in topics.refusals
            if letter.topic == SENSOR_WINDOWS.name
        ),
    ]
    return [
        f"{what} of {partition}/{offset}, which is no record of its stretch"
        for what, partition, offset in outputs
        if (partition, offset) not in known
    ]


class Commits:
    """Committed offsets from stretch to stretch: the last of one is the first of the next."""

    def __init__(self) -> None:
        """Start with none."""
        self._last: dict[tuple[str, str, int], Committed] = {}

    def stretch(self, changes: Iterable[Committed], forgotten: Iterable[str]) -> list[Committed]:
        """Continue with a stretch's changes.

        Args:
            changes: Committed offsets as they changed.
            forgotten: Topics that were created anew in it: their offsets begin again.
        """
        gone = set(forgotten)
        kept: Sequence[Committed] = [one for one in changes if one.topic not in gone]
        before = [one for one in self._last.values() if one.topic not in gone]
        self._last = {(c.group, c.topic, c.partition): c for c in (*before, *kept)}
        return [*before, *kept]
