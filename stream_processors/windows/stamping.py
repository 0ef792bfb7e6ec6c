"""Windows in the units of the versions that they are stamped with: pure, block by block.

The windows of a block are normalised together, one version at a time. What a window becomes
does not depend on its neighbours, bit for bit.
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
        places: Which of them, ascending and each once.
        fences: The fence that each of those falls under.
        sources: Where each of those came from.
    """
    units: dict[int, list[int]] = {}
    for index, fence in enumerate(fences):
        units.setdefault(fence.version, []).append(index)
    readings: list[bytes] = [b""] * len(places)
    for version, indices in units.items():
        chosen = [places[index] for index in indices]
        normaliser = block.model.versions[version].registered.normaliser
        normalised = normaliser.apply(picked(block.filled, chosen), picked(block.present, chosen))
        rows = rows_of(normalised.astype("<f4", copy=False))
        for index, row in zip(indices, rows, strict=True):
            readings[index] = row
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
        NormalizedWindow(  # by position: this is done for every window
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
