"""A replay's pipeline on made records, without servers."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.invalid_record import InvalidRecord
from millrace.inference.serving.servables import Persistence, Servable
from millrace.model_families.examples import Bools, Float32
from millrace.registry.state import Registry
from millrace.replay.pipeline import Pipeline, Scored
from millrace.replay.records import PastRecord
from millrace.replay.versions import as_served
from tests.builders import (
    AT,
    OTHER_UNITS,
    WindowRecord,
    activated,
    approved,
    pump_spec,
    pump_window,
    registered,
    registry_of,
    window_record,
)

SPEC = pump_spec()
REGISTRY = registry_of(
    registered(1), approved(1), activated(1, 2), registered(2, units=OTHER_UNITS), approved(2)
)
REGISTRY.apply(activated(2, 3))
#: Version 1 serves from offset 10 on, version 2 from 20 on.
LEDGER = [
    LedgerEntry("pump", 0, 1, 0, 0, AT),
    LedgerEntry("pump", 0, 2, 1, 10, AT),
    LedgerEntry("pump", 0, 3, 2, 20, AT),
]


def servable(model: str, version: int) -> Servable:
    """A version: persistence, whose forecasts are shifted by a tenth of the version's number."""
    known = REGISTRY.models[model].versions[version]
    persistence = Persistence(SPEC)

    def forecast(values: Float32, present: Bools) -> Float32:
        return persistence(values, present) + np.float32(version / 10)

    return Servable(SPEC, version, known.registered.normaliser, f"artefact-{version}", forecast)


def past(record: WindowRecord) -> PastRecord:
    """The record as it comes from the archive."""
    return PastRecord(
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.packed,
        list(record.headers),
    )


def records(count: int, assets: int = 3) -> list[PastRecord]:
    """Windows of a few pumps, in turn."""
    return [
        past(window_record(pump_window(3 * (n // assets), asset=f"pump-{n % assets}"), n))
        for n in range(count)
    ]


def pipeline(
    *,
    assets: Collection[str] = (),
    ledger: Sequence[LedgerEntry] = LEDGER,
    registry: Registry = REGISTRY,
    refused_then: Mapping[int, InvalidRecord] | None = None,
    substitutes: Mapping[int, int] | None = None,
) -> Pipeline:
    """A pipeline as served."""
    return Pipeline(
        0,
        registry,
        as_served(ledger, registry),
        servable,
        assets=assets,
        refused_then=refused_then,
        substitutes=substitutes,
    )


def run(made: Pipeline, given: Sequence[PastRecord], size: int = 1024, begin: int = 0) -> Scored:
    """Run records in blocks of a size; the results of all of them together."""
    total = Scored()
    for start in range(0, len(given), size):
        scored = made.run(given[start : start + size], lambda record: record.offset >= begin)
        total.records += scored.records
        total.runs += scored.runs
        total.refused |= scored.refused
        total.repeated += scored.repeated
        total.others += scored.others
    return total


def forecasts(scored: Scored) -> dict[int, tuple[int, bytes]]:
    """Version and bits of the forecast of each position."""
    return {
        window.source.offset: (run.servable.version, forecast.tobytes())
        for run in scored.runs
        for window, forecast in zip(run.windows, run.said.forecast, strict=True)
    }
