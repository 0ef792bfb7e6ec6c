"""Windows in the units of the versions that they are stamped with: pure, block by block.

The windows of a block are normalised together, one version at a time. What a window becomes
does not depend on its neighbours, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.ids import window_id
from contracts.ledger import LedgerEntry
from contracts.normalized_window import NormalizedWindow
from contracts.source import Source
from stream_processors.validation import Block


def stamped(
    block: Block, places: Sequence[int], fences: Sequence[LedgerEntry], sources: Sequence[Source]
) -> list[NormalizedWindow]:
    """Normalise windows of a block, each for the version that its fence names.

    Args:
        block: Windows of one model.
        places: Which of them.
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
        normalised = normaliser.apply(block.filled[chosen], block.present[chosen])
        data = normalised.astype("<f4", copy=False).tobytes()
        size = len(data) // len(chosen)
        for place, index in enumerate(indices):
            readings[index] = data[place * size : (place + 1) * size]
    shown = block.present.tobytes()
    sensors = block.present.shape[1]
    spec = block.model.spec
    made = []
    for place, fence, source, values in zip(places, fences, sources, readings, strict=True):
        body, layout = block.bodies[place], block.layouts[place]
        made.append(
            NormalizedWindow(
                window_id=window_id(body.asset, layout.sensor_set, body.start_ms),
                asset=body.asset,
                model=spec.name,
                version=fence.version,
                epoch=fence.epoch,
                source=source,
                start_ms=body.start_ms,
                end_ms=body.start_ms + layout.duration_ms,
                values=values,
                present=shown[place * sensors : (place + 1) * sensors],
                segment=body.segment,
            )
        )
    return made
