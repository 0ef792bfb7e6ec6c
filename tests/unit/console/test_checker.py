"""The checker finds every lost, doubled, altered and mixed window, and nothing else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.window import SensorWindow
from millrace.verification.checker import Counts, count_windows, find_mixing
from millrace.verification.evidence import Evidence, SentWindow
from millrace.verification.fences import fence_at, fences_of
from millrace.verification.source_windows import SourceWindow
from tests.unit.console.made import (
    SPEC,
    UNITS,
    clean_run,
    fence,
    normalized,
    prediction,
    refusal,
    registry,
    sent,
    story,
)


def counts(run: Evidence, windows: list[SourceWindow] | None = None) -> Counts:
    """Count a run of the hand-made story."""
    return count_windows(
        story() if windows is None else windows, run.windows, run.predictions, run.refusals, SPEC
    )


def test_a_clean_run_has_nothing_to_complain_of() -> None:
    """All windows sent and predicted once, by the version that the ledger says."""
    run = clean_run()
    found = counts(run)
    assert (found.expected, found.sent, found.valid, found.predicted) == (5, 5, 5, 5)
    assert (found.missing, found.duplicated, found.altered, found.unexpected) == (0, 0, 0, 0)
    assert find_mixing(run, registry(), SPEC.name).total == 0


def test_a_lost_prediction_is_missing() -> None:
    """A sent window that ended in neither prediction nor dead letter is found."""
    run = clean_run()
    del run.predictions[2]
    assert counts(run).missing == 1


def test_a_window_that_was_never_sent_is_missing() -> None:
    """The checker knows from the source alone that a window should have been there."""
    run = clean_run()
    del run.windows[4], run.predictions[4]
    assert counts(run).missing == 1


def test_a_doubled_prediction_is_found() -> None:
    """Two predictions of one record count as one duplicate, whatever their ids."""
    run = clean_run()
    run.predictions.append(msgspec.structs.replace(run.predictions[1], id="another"))
    found = counts(run)
    assert (found.duplicated, found.predicted, found.missing) == (1, 5, 0)


def test_a_window_that_was_sent_twice_is_found() -> None:
    """The same window in two records is a duplicate though each record has one prediction."""
    run = clean_run()
    again = sent_again(run.windows[0], offset=99)
    run.windows.append(again)
    run.predictions.append(prediction(again, 1, 2))
    assert counts(run).duplicated == 1


def test_a_window_both_predicted_and_refused_is_duplicated() -> None:
    """A record may end only once."""
    run = clean_run()
    run.refusals.append(refusal(run.windows[0]))
    assert counts(run).duplicated == 1


def test_a_refused_bad_window_is_rejected_and_not_missing() -> None:
    """A window without any target sensor deserves its dead letter."""
    windows = story()
    windows[1].values[:] = np.nan
    run = clean_run()
    run.windows = sent(windows)
    del run.predictions[1]
    run.refusals.append(refusal(run.windows[1]))
    found = counts(run, windows)
    assert (found.valid, found.rejected, found.missing, found.wrongly_rejected) == (4, 1, 0, 0)
    assert found.reasons == {"too_many_missing": 1}


def test_a_refused_good_window_is_missing() -> None:
    """Refusing what could have been predicted loses it, and does not hide behind a reason."""
    run = clean_run()
    del run.predictions[0]
    run.refusals.append(refusal(run.windows[0]))
    found = counts(run)
    assert (found.wrongly_rejected, found.missing) == (1, 1)


def test_altered_and_invented_windows_are_found() -> None:
    """A window whose readings are not the source's is altered; one of no source is unexpected."""
    run = clean_run()
    first = run.windows[0].window
    assert first is not None
    changed = SensorWindow(
        first.asset, first.sensors, first.start_ms, 60.0, first.values + 1, first.segment
    )
    run.windows[0] = SentWindow(0, 0, 0, changed)
    invented = SensorWindow("tank-9", first.sensors, first.start_ms, 60.0, first.values)
    run.windows.append(SentWindow(0, 5, 0, invented))
    run.predictions.append(prediction(run.windows[5], 1, 2))
    found = counts(run)
    assert (found.altered, found.unexpected) == (1, 1)


def test_a_prediction_by_the_wrong_version_is_mixed() -> None:
    """A version stamped before its fence is found and counted for the swap it belongs to."""
    run = clean_run()
    run.predictions[2] = prediction(run.windows[2], 1, 2)
    assert find_mixing(run, registry(), SPEC.name).by_epoch == {2: 1}


def test_a_prediction_in_the_units_of_another_version_is_mixed() -> None:
    """The right stamp with another version's normaliser is found."""
    run = clean_run()
    run.predictions[4] = msgspec.structs.replace(
        run.predictions[4], normaliser_digest=UNITS[0].digest
    )
    assert find_mixing(run, registry(), SPEC.name).by_epoch == {2: 1}


def test_a_prediction_by_another_artefact_is_mixed() -> None:
    """The right version number from other files is found."""
    run = clean_run()
    run.predictions[4] = msgspec.structs.replace(run.predictions[4], artefact_digest="b" * 64)
    assert find_mixing(run, registry(), SPEC.name).total == 1


def test_a_window_normalised_for_another_version_is_mixed() -> None:
    """Right stamp, wrong units in the window itself: seen by normalising it again."""
    run = clean_run()
    wrong = normalized(run.windows[4], 0, 1)
    run.normalized[4] = msgspec.structs.replace(wrong, version=1, epoch=2)
    found = find_mixing(run, registry(), SPEC.name)
    assert found.by_epoch == {2: 1}
    assert "units" in found.examples[0]


def test_a_stand_in_is_a_fallback_and_not_mixed() -> None:
    """A prediction by another version than stamped counts apart while its units match."""
    run = clean_run()
    run.predictions[4] = prediction(run.windows[4], 0, 2, stamped=1)
    found = find_mixing(run, registry(), SPEC.name)
    assert (found.total, found.fallbacks) == (0, 1)


def test_a_prediction_before_any_fence_is_mixed() -> None:
    """What the ledger does not explain is wrong."""
    run = clean_run()
    run.ledger = run.ledger[1:]
    assert find_mixing(run, registry(), SPEC.name).total == 6


@pytest.mark.parametrize(("offset", "epoch"), [(0, 1), (2, 1), (3, 2), (9, 2), (10, 4), (99, 4)])
def test_the_fence_of_an_offset_is_the_last_one_before_it(offset: int, epoch: int) -> None:
    """Fences apply from their first offset on, the offset itself included."""
    fences = fences_of([fence(4, 2, 10), fence(1, 0, 0), fence(2, 1, 3)], SPEC.name)
    found = fence_at(fences, 0, offset)
    assert found is not None
    assert found.epoch == epoch


@settings(deadline=None, max_examples=40)
@given(
    lost=st.sets(st.integers(0, 4)),
    doubled=st.sets(st.integers(0, 4)),
)
def test_every_lost_and_every_doubled_window_is_counted(lost: set[int], doubled: set[int]) -> None:
    """Any mix of lost and doubled predictions is counted exactly."""
    run = clean_run()
    predictions = list(run.predictions)
    run.predictions = [p for i, p in enumerate(predictions) if i not in lost]
    run.predictions += [predictions[i] for i in sorted(doubled)]
    found = counts(run)
    assert found.missing == len(lost - doubled)
    assert found.duplicated == len(doubled - lost)


def sent_again(record: SentWindow, offset: int) -> SentWindow:
    """The same window in another record."""
    return SentWindow(record.partition, offset, record.timestamp_ms, record.window)


def test_the_first_record_of_a_fence_counts() -> None:
    """As for the stream processor: a second one, of whatever offset, changes nothing."""
    fences = fences_of([fence(1, 0, 0), fence(2, 1, 3), fence(2, 1, 5)], SPEC.name)
    found = fence_at(fences, 0, 4)
    assert found is not None
    assert found.epoch == 2
