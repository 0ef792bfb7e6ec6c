"""Compares a replay as served with what was published. Streams both by position.

    windows ─► pipeline ─► prediction ─┐
                                       ├─► equal | different | missing | extra
    predictions (archive, topic) ──────┘

Two predictions are equal if all of their fields are, bit for bit, except for the time at which they
were made. A window without a published prediction is accounted for if it was refused, or repeats a
window that was predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import numpy as np

from millrace.contracts.clock import now
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.wire.codec import EventReader
from millrace.inference.batch.records import prediction_records
from millrace.inference.serving.platform import platform_name
from millrace.replay.past import Past
from millrace.replay.pipeline import Scored
from millrace.replay.plan import Part, Plan
from millrace.replay.published import Published, PublishedStream
from millrace.replay.records import wanted_from

#: Fields of a prediction that say when it was made.
_CLOCK: Final = ("predicted_at", "latency_ms")
#: Findings of each kind that are kept with their details.
_EXAMPLES: Final = 5

_read = EventReader[Prediction](Prediction)


class Finding(msgspec.Struct, frozen=True):
    """A window whose published prediction is not that of its replay.

    Attributes:
        kind: ``different``, ``missing`` or ``extra``.
        position: The window's position.
        asset: Its asset; empty if unknown.
        detail: What differs, or what is known of it.
        largest: Largest difference between two forecasts, physical units; 0 if they are equal.
    """

    kind: str
    position: int
    asset: str
    detail: str
    largest: float = 0.0


class Comparison(msgspec.Struct, frozen=True):
    """Result of a comparison.

    Attributes:
        records: Records of `sensor.windows` that were read.
        equal: Predictions that are equal, bit for bit.
        different: Predictions that differ.
        missing: Windows that the replay predicts, and that nobody published, refused or repeated.
        extra: Published predictions of records that the replay does not predict.
        refused: Records that were refused.
        repeated: Windows that repeat an earlier one.
        others: Windows of assets that were not asked for.
        largest: Largest difference between two forecasts, physical units.
        findings: The first ones of each kind, by position.
    """

    records: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    refused: int = 0
    repeated: int = 0
    others: int = 0
    largest: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether everything that was published is what the replay gives, and nothing else."""
        return not (self.different or self.missing or self.extra)

    def __add__(self, other: Comparison) -> Comparison:
        """Add the numbers."""
        findings = [*self.findings, *other.findings]
        first = [
            finding
            for kind in ("different", "missing", "extra")
            for finding in [each for each in findings if each.kind == kind][:_EXAMPLES]
        ]
        return Comparison(
            self.records + other.records,
            self.equal + other.equal,
            self.different + other.different,
            self.missing + other.missing,
            self.extra + other.extra,
            self.refused + other.refused,
            self.repeated + other.repeated,
            self.others + other.others,
            max(self.largest, other.largest),
            tuple(first),
        )


def verify_part(plan: Plan, part: Part, past: Past) -> Iterator[Comparison]:
    """Compare a partition's windows with their predictions.

    Args:
        plan: A replay as served.
        part: The partition and its positions.
        past: What it reads.

    Yields:
        The comparison so far, block by block.

    Raises:
        DataError, ServerError: See `Past`.
    """
    substitutes: dict[int, int] = {}
    pipeline = past.pipeline(plan, part, substitutes)
    published = PublishedStream(past.published(plan, part))
    so_far = Comparison()
    is_wanted = wanted_from(plan, part.first)
    for records in past.blocks(part):
        wanted = {record.offset for record in records if is_wanted(record)}
        found = published.through(records[-1].offset)
        there = {at: each for at, each in found.items() if at in wanted}
        substitutes.clear()
        substitutes |= {
            at: one.version for at, (one, _) in there.items() if one.version != one.stamped_version
        }
        so_far += compare(pipeline.run(records, is_wanted), there)
        yield so_far


def compare(scored: Scored, there: Mapping[int, Published]) -> Comparison:
    """Compare the results of records with what was published of them.

    Args:
        scored: Their results.
        there: Published predictions by position.
    """
    equal = 0
    findings: list[Finding] = []
    replayed: set[int] = set()
    for run in scored.runs:
        made = prediction_records(run.servable, run.windows, run.said, now())
        for window, (_, _, value, _, _) in zip(run.windows, made, strict=True):
            position = window.source.offset
            replayed.add(position)
            one = there.get(position)
            if one is None:
                detail = "it is a valid window, and neither a prediction nor a dead letter is known"
                findings.append(Finding("missing", position, window.asset, detail))
            elif (finding := _difference(position, one, _read(value))) is None:
                equal += 1
            else:
                findings.append(finding)
    for position in sorted(there.keys() - replayed):
        problem = scored.refused.get(position)
        why = "repeats an earlier window" if position in scored.repeated else "is not asked for"
        detail = (
            f"it was predicted, and its window {why}"
            if problem is None
            else (f"it was predicted, and its window is refused: {problem.detail}")
        )
        findings.append(Finding("extra", position, there[position].prediction.asset, detail))
    kinds = [finding.kind for finding in findings]
    return Comparison(
        scored.records,
        equal,
        kinds.count("different"),
        kinds.count("missing"),
        kinds.count("extra"),
        len(scored.refused),
        len(scored.repeated),
        scored.others,
        max((finding.largest for finding in findings), default=0.0),
        tuple(findings[:_EXAMPLES]),
    )


def _difference(position: int, one: Published, replayed: Prediction) -> Finding | None:
    """Describe how two predictions differ; None if they are equal."""
    published = one.prediction
    clock = {name: getattr(published, name) for name in _CLOCK}
    ours = msgspec.structs.replace(replayed, **clock)
    if ours == published:
        return None
    names = [
        name
        for name in Prediction.__struct_fields__
        if getattr(ours, name) != getattr(published, name)
    ]
    detail = f"differs in {', '.join(names)}"
    if names == ["forecast"] and one.platform not in {"", platform_name()}:
        detail += f": it was made on {one.platform}, and this is {platform_name()}"
    return Finding("different", position, published.asset, detail, _largest(published, replayed))


def _largest(one: Prediction, other: Prediction) -> float:
    a, b = (np.array(each.forecast, np.float64) for each in (one, other))
    if a.shape != b.shape:
        return float("inf")
    gaps = np.abs(a - b)[~(np.isnan(a) & np.isnan(b))]
    return float(np.nanmax(gaps)) if gaps.size else 0.0
