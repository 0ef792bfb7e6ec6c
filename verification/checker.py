"""The checker: compares the source with the topics, and counts deviations.

It queries no service: it cuts the source's windows itself, takes the version of each offset from
the ledger, and the units of that version's inputs from the registry. It is not fully independent:
the source's files are read by the edge's own code (`producers.sources.dataset`), records are
decoded by `contracts`, and the ledger's fences are taken as written; a defect there affects both
sides, and is not detected here.

Every window that the source must yield has to be sent once, unaltered, and to result in exactly one
prediction, or in exactly one dead letter if it is invalid.

* **missing**: windows never sent, sent ones without a result, and valid ones refused;
* **duplicated**: second occurrences: of a sent window, of a prediction or dead letter of the same
  record, or a prediction *and* a dead letter;
* **mixed**: predictions or normalised windows whose version is not the ledger's for their
  partition and offset, or whose units are not that version's. A prediction by the substitute of a
  version that cannot be loaded is a *fallback*, as long as its units match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.missing import ABSENT_ABOVE
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.registry.state import Registry
from millrace.verification.evidence import Evidence, Refusal, SentWindow
from millrace.verification.fences import fence_at, fences_of
from millrace.verification.source_windows import Float32, SourceWindow

Place = tuple[int, int]

#: Normalised values may differ by float32 rounding, relative and absolute.
_ROUNDING: Final = 1e-3
#: Number of findings that are kept as text.
_EXAMPLES: Final = 10


@dataclass(frozen=True)
class Counts:
    """Counts of the windows by result.

    Attributes:
        expected: Windows that the source must yield.
        sent: Records in `sensor.windows`.
        valid: Records that were not refused.
        rejected: Records that were refused.
        predicted: Records with a prediction.
        missing: See the module.
        duplicated: See the module.
        altered: Sent windows whose readings are not the source's.
        unexpected: Sent windows that the source must not yield.
        wrongly_rejected: Refused windows that are valid; part of ``missing``.
        reasons: Dead letters by reason.
    """

    expected: int
    sent: int
    valid: int
    rejected: int
    predicted: int
    missing: int
    duplicated: int
    altered: int
    unexpected: int
    wrongly_rejected: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Mixing:
    """Deviations of stamps and units.

    Attributes:
        by_epoch: Wrong predictions and normalised windows by their epoch; only epochs with any.
        fallbacks: Predictions by a substitute for the stamped version.
        examples: Some findings as text.
    """

    by_epoch: dict[int, int] = field(default_factory=dict)
    fallbacks: int = 0
    examples: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of all deviations."""
        return sum(self.by_epoch.values())


def count_windows(
    source: Sequence[SourceWindow],
    sent: Sequence[SentWindow],
    predictions: Iterable[Prediction],
    refusals: Iterable[Refusal],
    spec: ModelSpec,
) -> Counts:
    """Count the windows that a source must yield by their result.

    Args:
        source: Windows that the source must yield.
        sent: All records of `sensor.windows`.
        predictions: All predictions.
        refusals: All dead letters.
        spec: The model of the windows.
    """
    expected = {window.key: window for window in source}
    copies: Counter[tuple[str, str, int]] = Counter()
    altered = unexpected = 0
    good: set[Place] = set()
    for record in sent:
        window = record.window
        wanted = (
            None
            if window is None
            else expected.get((window.asset, window.segment, window.start_ms))
        )
        if window is None or wanted is None:
            unexpected += 1
            continue
        copies[wanted.key] += 1
        altered += not _same(window.values, wanted.values)
        if deserves_prediction(wanted.values, spec):
            good.add((record.partition, record.offset))

    places = {(record.partition, record.offset) for record in sent}
    predicted = Counter(
        (p.source.partition, p.source.offset)
        for p in predictions
        if p.source.topic == SENSOR_WINDOWS.name
    )
    letters = [r for r in refusals if r.topic == SENSOR_WINDOWS.name]
    refused = Counter((r.partition, r.offset) for r in letters)
    ended = Counter({place: predicted[place] + refused[place] for place in places})
    lost = sum(1 for place in places if not ended[place])
    wrongly = sum(1 for place in refused if place in good and not predicted[place])
    return Counts(
        expected=len(expected),
        sent=len(places),
        valid=len(places - set(refused)),
        rejected=len(places & set(refused)),
        predicted=len(places & set(predicted)),
        missing=len(expected.keys() - copies.keys()) + lost + wrongly,
        duplicated=sum(n - 1 for n in copies.values()) + sum(n - 1 for n in ended.values() if n),
        altered=altered,
        unexpected=unexpected,
        wrongly_rejected=wrongly,
        reasons=dict(Counter(r.reason for r in letters)),
    )


def deserves_prediction(values: Float32, spec: ModelSpec) -> bool:
    """Whether a window must be predicted: a target sensor is present, no value is infinite."""
    targets = values[:, list(spec.target_columns)]
    present = np.isnan(targets).mean(axis=0) <= ABSENT_ABOVE
    return bool(present.any()) and not bool(np.isinf(values).any())


def find_mixing(evidence: Evidence, registry: Registry, model: str) -> Mixing:
    """Check every prediction and normalised window of a model against ledger and registry.

    Args:
        evidence: Content of the topics.
        registry: The fold of its model events.
        model: The model's name.
    """
    judge = _Judge(evidence, registry, model)
    wrong: Counter[int] = Counter()
    examples: list[str] = []
    fallbacks = 0
    for prediction in evidence.predictions:
        if prediction.model != model:
            continue
        finding = judge.prediction(prediction)
        if finding is not None:
            wrong[judge.epoch_of(prediction.source, prediction.epoch)] += 1
            examples.append(f"prediction of {_place(prediction.source)}: {finding}")
        elif prediction.version != prediction.stamped_version:
            fallbacks += 1
    for window in evidence.normalized:
        if window.model != model:
            continue
        finding = judge.normalized(window)
        if finding is not None:
            wrong[judge.epoch_of(window.source, window.epoch)] += 1
            examples.append(f"normalised window of {_place(window.source)}: {finding}")
    return Mixing(dict(wrong), fallbacks, tuple(examples[:_EXAMPLES]))


class _Judge:
    """Holds each version's units and artefact, each offset's fence, each sent window."""

    def __init__(self, evidence: Evidence, registry: Registry, model: str) -> None:
        self._fences = fences_of(evidence.ledger, model)
        self._sent = {(w.partition, w.offset): w.window for w in evidence.windows}
        versions = registry.models[model].versions if model in registry.models else {}
        self._units = {n: v.registered.normaliser for n, v in versions.items()}
        self._digests = {n: normaliser.digest for n, normaliser in self._units.items()}
        self._artefacts = {
            n: v.registered.artefact.digest
            for n, v in versions.items()
            if v.registered.artefact is not None
        }

    def epoch_of(self, source: Source, claimed: int) -> int:
        """The later one of a record's stamped epoch and the epoch of its fence."""
        fence = fence_at(self._fences, source.partition, source.offset)
        return max(claimed, fence.epoch if fence else 0)

    def prediction(self, p: Prediction) -> str | None:
        """Describe a deviation of a prediction's version or units; None if there is none."""
        fence = fence_at(self._fences, p.source.partition, p.source.offset)
        wrong = _wrong_stamp(fence, p.stamped_version, p.epoch)
        if wrong is not None:
            return wrong
        if p.normaliser_digest != self._digests.get(p.version):
            return f"in units that are not version {p.version}'s"
        if p.artefact_digest != self._artefacts.get(p.version, p.artefact_digest):
            return f"by an artefact that is not version {p.version}'s"
        return None

    def normalized(self, window: NormalizedWindow) -> str | None:
        """Describe a deviation of a normalised window's stamp or units; None if there is none."""
        source = window.source
        fence = fence_at(self._fences, source.partition, source.offset)
        wrong = _wrong_stamp(fence, window.version, window.epoch)
        if wrong is not None:
            return wrong
        original = self._sent.get((source.partition, source.offset))
        units = self._units.get(window.version)
        if original is None or units is None:
            return "of an unknown window or version"
        return _wrong_units(window, original.values, units)


def _place(source: Source) -> str:
    return f"partition {source.partition}, offset {source.offset}"


def _wrong_stamp(fence: LedgerEntry | None, version: int, epoch: int) -> str | None:
    if fence is None:
        return f"stamped version {version} before any fence"
    if (version, epoch) != (fence.version, fence.epoch):
        return (
            f"stamped version {version} in epoch {epoch}, but the ledger says version"
            f" {fence.version} in epoch {fence.epoch} from offset {fence.first_offset}"
        )
    return None


def _wrong_units(window: NormalizedWindow, readings: Float32, units: Normaliser) -> str | None:
    """Compare a normalised window with our own normalisation of the original, where measured.

    Filled gaps are excluded: their values depend on the model, not on its units.
    """
    present = np.isnan(readings).mean(axis=0) <= ABSENT_ABOVE
    ours = (readings.astype(np.float64) - units.mean) / units.scale
    theirs = window.matrix(readings.shape[1])
    if theirs.shape != ours.shape or not np.array_equal(window.presence(), present):
        return "of another shape or presence than its original"
    measured = ~np.isnan(readings) & present
    if not np.allclose(theirs[measured], ours[measured], rtol=_ROUNDING, atol=_ROUNDING):
        return f"in units that are not version {window.version}'s"
    if theirs[:, ~present].any():
        return "with values for absent sensors"
    return None


def _same(sent: Float32, source: Float32) -> bool:
    return sent.shape == source.shape and np.array_equal(sent, source, equal_nan=True)
