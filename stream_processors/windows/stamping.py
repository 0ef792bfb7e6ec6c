"""Normalises windows in the units of their stamped versions: pure functions on blocks.

The windows of a block are normalised together, one version at a time. The result for a window does
not depend on its neighbours, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.ids import window_ids
from millrace.contracts.source import Source
from millrace.stream_processors.rows import picked, rows_of
from millrace.stream_processors.windows.validation import Block


def stamped(
    block: Block, places: Sequence[int], fences: Sequence[LedgerEntry], sources: Sequence[Source]
) -> list[NormalizedWindow]:
    """Normalise windows of a block, each for the version that its fence names.

    Args:
        block: Windows of one model.
        places: Their indices in the block, ascending and distinct; at least one.
        fences: The fence that applies to each.
        sources: Source record of each.
    """
    readings = _in_units(block, places, [fence.version for fence in fences])
    if block.is_complete:
        shown = [block.present[0].tobytes()] * len(block.bodies)
    else:
        shown = rows_of(block.present)
    spec = block.model.spec
    window_ms = spec.window_ms
    bodies = [block.bodies[place] for place in places]
    ids = window_ids(
        [body.asset for body in bodies],
        spec.sensor_set,
        [body.start_ms for body in bodies],
        [body.segment for body in bodies],
    )
    return [
        NormalizedWindow(  # positional arguments are faster: this runs for every window
            window_id,
            body.asset,
            spec.name,
            fence.version,
            fence.epoch,
            source,
            body.start_ms,
            body.start_ms + window_ms,
            values,
            shown[place],
            body.segment,
        )
        for window_id, place, body, fence, source, values in zip(
            ids, places, bodies, fences, sources, readings, strict=True
        )
    ]


def _in_units(block: Block, places: Sequence[int], versions: Sequence[int]) -> list[bytes]:
    """Readings of windows of a block, each in the units of its version."""
    if versions.count(versions[0]) == len(versions):  # the usual case
        return _in_units_of(versions[0], block, places)
    readings: list[bytes] = [b""] * len(places)
    for version in set(versions):
        indices = [index for index, its in enumerate(versions) if its == version]
        rows = _in_units_of(version, block, [places[index] for index in indices])
        for index, row in zip(indices, rows, strict=True):
            readings[index] = row
    return readings


def _in_units_of(version: int, block: Block, places: Sequence[int]) -> list[bytes]:
    """Readings of windows of a block in the units of one version."""
    normaliser = block.model.versions[version].registered.normaliser
    normalised = normaliser.apply(picked(block.filled, places), picked(block.present, places))
    return rows_of(normalised.astype("<f4", copy=False))
