"""The gate lets through what helps, holds back what harms or may be luck, and says why."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.trainer.learning.gate import (
    GateSettings,
    HoldoutErrors,
    block_length,
    champion_fails,
    judge,
)

SETTINGS = GateSettings(resamples=500)
BLOCK = 6


def holdout(
    factors: dict[str, float], *, windows: int = 120, noise: float = 0.05, persistence: float = 2.0
) -> HoldoutErrors:
    """Errors of a champion around 1, and of a challenger that many times as large per asset."""
    rng = np.random.default_rng(7)
    champion, challenger, names = [], [], []
    for asset, factor in factors.items():
        own = rng.uniform(0.5, 1.5, windows)
        champion.append(own)
        challenger.append(own * factor + noise * rng.uniform(-1, 1, windows))
        names += [asset] * windows
    served = np.concatenate(champion)
    return HoldoutErrors(
        np.abs(np.concatenate(challenger)), served, served * persistence, np.array(names)
    )


def test_approves_a_clear_improvement() -> None:
    """A challenger a tenth better than the champion passes, and its reason says by how much."""
    verdict = judge(holdout({"A": 0.9}), SETTINGS, block=BLOCK)
    assert verdict.approved
    assert verdict.improvement == pytest.approx(0.1, abs=0.01)
    assert 0 < verdict.low <= verdict.improvement <= verdict.high
    assert "better than the champion" in verdict.detail


@pytest.mark.parametrize(
    ("factor", "reason"), [(1.1, "is asked for"), (1.0, "is asked for"), (0.995, "is asked for")]
)
def test_rejects_less_than_the_margin(factor: float, reason: str) -> None:
    """A worse, an equal and a barely better challenger are held back."""
    verdict = judge(holdout({"A": factor}, noise=0.0), SETTINGS, block=BLOCK)
    assert not verdict.approved
    assert reason in verdict.detail


def test_rejects_luck_that_comes_in_spells() -> None:
    """A mean improvement that one spell of windows made is luck to blocks, not to single draws."""
    champion = np.ones(96)
    challenger = champion + np.where(np.arange(96) % 96 < 16, -0.45, 0.04)
    errors = HoldoutErrors(challenger, champion, champion * 3, np.array(["A"] * 96))
    blocks = judge(errors, SETTINGS, block=16)
    singles = judge(errors, SETTINGS, block=1)
    assert blocks.improvement == singles.improvement > SETTINGS.margin
    assert singles.approved
    assert not blocks.approved
    assert "may be luck" in blocks.detail


def test_rejects_harm_to_one_asset() -> None:
    """A challenger that is better on the whole but a fifth worse on one asset is held back."""
    verdict = judge(holdout({"A": 0.7, "B": 1.2, "C": 0.7}), SETTINGS, block=BLOCK)
    assert verdict.improvement > 0.1
    assert not verdict.approved
    assert "worse on B" in verdict.detail
    assert len(verdict.reasons) == 1


def test_a_loss_too_small_to_matter_rejects_nothing() -> None:
    """A relative loss on a machine whose errors are next to nothing is passed over."""
    both = holdout({"A": 0.7, "B": 1.2}, noise=0.0)
    quiet = np.where(both.asset == "B", 1e-4, 1.0)
    errors = HoldoutErrors(
        both.challenger * quiet, both.champion * quiet, both.persistence * quiet, both.asset
    )
    assert judge(errors, SETTINGS, block=BLOCK).approved


def test_one_window_of_a_new_asset_can_hold_a_challenger_back() -> None:
    """A large loss on an asset that has hardly begun is harm, for nothing speaks against it."""
    many = holdout({"A": 0.8})
    errors = HoldoutErrors(
        np.append(many.challenger, 1.3),
        np.append(many.champion, 1.0),
        np.append(many.persistence, 2.0),
        np.append(many.asset, "B"),
    )
    verdict = judge(errors, SETTINGS, block=BLOCK)
    assert not verdict.approved
    assert "30.0% worse on B" in verdict.detail


def test_rejects_what_persistence_beats() -> None:
    """A challenger better than a poor champion still has to beat persistence."""
    verdict = judge(holdout({"A": 0.8}, persistence=0.7), SETTINGS, block=BLOCK)
    assert not verdict.approved
    assert "not better than persistence" in verdict.detail


def test_rejects_a_holdout_that_is_too_small() -> None:
    """However good, a challenger is not judged by a handful of windows."""
    verdict = judge(holdout({"A": 0.5}, windows=10), SETTINGS, block=BLOCK)
    assert not verdict.approved
    assert "only 10 hold-out windows" in verdict.detail


def test_the_verdict_repeats_itself() -> None:
    """The same errors and settings give the same verdict, bit for bit."""
    errors = holdout({"A": 0.97, "B": 0.98})
    assert judge(errors, SETTINGS, block=BLOCK) == judge(errors, SETTINGS, block=BLOCK)


def test_refuses_errors_that_are_no_numbers() -> None:
    """NaN, a missing column and no windows at all are refused, not judged."""
    errors = holdout({"A": 0.9})
    spoilt = errors.challenger.copy()
    spoilt[3] = np.nan
    none = np.array([])
    for bad in (
        replace(errors, challenger=spoilt),
        replace(errors, champion=errors.champion[1:]),
        HoldoutErrors(none, none, none, np.array([], dtype=np.str_)),
    ):
        with pytest.raises(DataError):
            judge(bad, SETTINGS, block=BLOCK)


@given(st.floats(0.2, 3.0), st.floats(1e-3, 1e3), st.integers(1, 200))
def test_units_and_block_lengths_do_not_change_the_improvement(
    factor: float, unit: float, block: int
) -> None:
    """The improvement is relative; the interval holds it when the ratio is the same everywhere."""
    base = holdout({"A": factor}, noise=0.0, windows=60)
    errors = HoldoutErrors(
        base.challenger * unit, base.champion * unit, base.persistence * unit, base.asset
    )
    verdict = judge(errors, GateSettings(resamples=50), block=block)
    assert verdict.improvement == pytest.approx(1 - factor, abs=1e-5)
    assert verdict.low == pytest.approx(1 - factor, abs=1e-4)
    assert verdict.high == pytest.approx(1 - factor, abs=1e-4)
    assert not (verdict.approved and factor >= 1)


def test_a_block_spans_the_windows_that_share_samples() -> None:
    """Windows of 24 samples and 24 ahead, every 6, overlap with the next seven."""
    spec = ModelSpec("grid", ("OT",), 3600.0, window=24, horizon=24, stride=6)
    assert block_length(spec) == 8


def test_an_asset_that_has_just_begun_holds_a_release_back() -> None:
    """One of two assets without hold-out windows to speak of: nothing vouches for it yet."""
    champion = np.random.default_rng(3).uniform(0.8, 1.2, 60)
    asset = np.array(["old"] * 57 + ["new"] * 3)
    better = champion * 0.8
    two = HoldoutErrors(better, champion, champion * 2, asset)
    verdict = judge(two, GateSettings(), block=3)
    assert verdict.reasons == ("new cannot be judged yet: fewer than 8 hold-out windows",)
    unseen = HoldoutErrors(better, champion, champion * 2, np.full(60, "old"), frozenset({"late"}))
    assert not judge(unseen, GateSettings(), block=3).approved
    many = np.array([f"pump-{n % 12}" for n in range(120)] + ["new"])
    errors = np.random.default_rng(4).uniform(0.8, 1.2, 121)
    fleet = HoldoutErrors(errors * 0.8, errors, errors * 2, many)
    assert judge(fleet, GateSettings(), block=2).approved


def test_a_champion_that_persistence_beats_has_failed() -> None:
    """Where the last reading forecasts better than the champion, for sure, that is said."""
    errors = holdout({"A": 1.0, "B": 1.0}, persistence=0.8)
    why = champion_fails(errors, SETTINGS, block=BLOCK)
    assert "persistence is 20.0% better" in why


@pytest.mark.parametrize("persistence", [0.995, 1.0, 1.5])
def test_a_champion_as_good_as_persistence_has_not_failed(persistence: float) -> None:
    """Version 0 has to beat the champion by the margin, as any challenger has."""
    errors = holdout({"A": 1.0}, persistence=persistence)
    assert champion_fails(errors, SETTINGS, block=BLOCK) == ""


def test_a_champion_that_one_asset_needs_has_not_failed() -> None:
    """Persistence does not come back where that would harm an asset, however good for the rest."""
    errors = holdout({"A": 1.0, "B": 1.0}, persistence=0.7)
    harmed = np.where(errors.asset == "B", errors.champion * 1.2, errors.persistence)
    assert champion_fails(replace(errors, persistence=harmed), SETTINGS, block=BLOCK) == ""
