"""The gate: a verdict from hold-out errors; one file, since its rules are read together.

A challenger serves only if, on the same frozen and most recent hold-out,

1. it is better than the champion by a margin, and the lower end of a bootstrap interval of
   that improvement is above zero,
2. it is not worse than the champion on any asset by more than a limit (again by the
   interval: a small loss may be chance, but a large loss counts by itself, on however few
   windows, because there is no evidence for a challenger on an asset that has just started),
3. it is better than persistence,
4. all but a few of the assets that it would serve have enough hold-out windows to be judged
   by. (On the wells, a version that was approved an hour after a second well had started
   sending made that well 9 % worse for a month.)

The same rules apply to the champion: if *persistence* passes points 1, 2 and 4 as a challenger, the
champion has failed, and version 0 should serve again (`champion_fails`).

`trainer.learning.improvement` computes improvements and their intervals.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> champion = rng.uniform(0.8, 1.2, 200)
>>> errors = HoldoutErrors(champion * 0.8, champion, champion * 1.5, np.array(["A"] * 200))
>>> judge(errors, GateSettings(), block=5).approved
True
>>> champion_fails(errors, GateSettings(), block=5)
''
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.trainer.learning.improvement import (
    Floats,
    draw_by_asset,
    improvement,
    interval,
    together,
)

#: Most assets that a reason names.
NAMED = 3


class GateSettings(msgspec.Struct, frozen=True):
    """Thresholds of the gate.

    Attributes:
        margin: Least relative improvement over the champion.
        confidence: One-sided confidence of the interval's ends.
        asset_limit: Largest relative loss of an asset.
        negligible: Loss of an asset that counts as zero, in standard deviations: on a machine that
            hardly moves, a relative loss is not meaningful.
        min_windows: Fewest hold-out windows for a verdict.
        asset_windows: Fewest hold-out windows of an asset for a verdict on it.
        unjudged: Largest share of assets without a verdict: new ones join a large fleet all the
            time.
        resamples: Bootstrap draws.
        seed: Seed of the draws.
    """

    margin: float = 0.01
    confidence: float = 0.80
    asset_limit: float = 0.05
    negligible: float = 0.0005
    min_windows: int = 24
    asset_windows: int = 8
    unjudged: float = 0.10
    resamples: int = 2_000
    seed: int = 1


@dataclass(frozen=True, eq=False)
class HoldoutErrors:
    """Mean absolute errors of three forecasters on the same windows, oldest first.

    Attributes:
        challenger: Float of shape (n,), in the same units for all three.
        champion: The same of the serving version.
        persistence: The same of version 0.
        asset: Asset of each window, str of shape (n,).
        served: All assets in the run's data, those without a hold-out window included.
    """

    challenger: Floats
    champion: Floats
    persistence: Floats
    asset: npt.NDArray[np.str_]
    served: frozenset[str] = frozenset()


class AssetVerdict(msgspec.Struct, frozen=True):
    """Verdict on one asset.

    Attributes:
        windows: Its windows in the hold-out.
        improvement: Relative improvement over the champion on them.
        low: Lower end of its interval.
        high: Upper end of its interval.
    """

    windows: int
    improvement: float
    low: float
    high: float


class Verdict(msgspec.Struct, frozen=True):
    """Decision of the gate.

    Attributes:
        approved: Whether the challenger may serve.
        reasons: The reasons, one sentence each; for a rejection, only those against it.
        challenger: Mean error on the hold-out.
        champion: The champion's mean error.
        persistence: Persistence's mean error.
        improvement: Relative improvement over the champion.
        low: Lower end of its interval.
        high: Upper end of its interval.
        windows: Number of hold-out windows.
        assets: The same for each asset.
    """

    approved: bool
    reasons: tuple[str, ...]
    challenger: float
    champion: float
    persistence: float
    improvement: float
    low: float
    high: float
    windows: int
    assets: dict[str, AssetVerdict]

    @property
    def detail(self) -> str:
        """The reasons as one line."""
        return "; ".join(self.reasons)


def block_length(spec: ModelSpec) -> int:
    """Number of consecutive windows that share samples, windows and truth taken together."""
    return -(-(spec.window + spec.horizon) // spec.stride)


def judge(errors: HoldoutErrors, settings: GateSettings, *, block: int) -> Verdict:
    """Evaluate a challenger.

    Args:
        errors: Errors on the hold-out.
        settings: Thresholds.
        block: Windows of a bootstrap block, see `block_length`.

    Raises:
        DataError: Errors are not finite, or there are none.
    """
    _check(errors)
    found = _compare(errors, errors.challenger, settings, block)
    challenger, champion, persistence = (
        float(np.mean(e)) for e in (errors.challenger, errors.champion, errors.persistence)
    )
    against = list(found.against)
    if not challenger < persistence:
        against.append(f"not better than persistence ({challenger:.4f} against {persistence:.4f})")
    return Verdict(
        approved=not against,
        reasons=tuple(against)
        or (
            (
                f"{found.improvement:.1%} better than the champion (at least {found.low:.1%} with"
                f" {settings.confidence:.0%} confidence) on {len(errors.asset)} windows, no asset"
                f" worse by more than {settings.asset_limit:.0%}, better than persistence"
            ),
        ),
        challenger=challenger,
        champion=champion,
        persistence=persistence,
        improvement=found.improvement,
        low=found.low,
        high=found.high,
        windows=len(errors.asset),
        assets=found.assets,
    )


def champion_fails(errors: HoldoutErrors, settings: GateSettings, *, block: int) -> str:
    """Decide whether persistence should serve again instead of the champion.

    Args:
        errors: Errors on the hold-out.
        settings: Thresholds, the same as for a challenger.
        block: Windows of a bootstrap block, see `block_length`.

    Returns:
        The reason; empty if the champion stays.

    Raises:
        DataError: Errors are not finite, or there are none.
    """
    _check(errors)
    found = _compare(errors, errors.persistence, settings, block)
    if found.against:
        return ""
    return (
        f"persistence is {found.improvement:.1%} better (at least {found.low:.1%} with"
        f" {settings.confidence:.0%} confidence) on {len(errors.asset)} windows, and no asset"
        f" is worse off by more than {settings.asset_limit:.0%}"
    )


@dataclass(frozen=True)
class _Comparison:
    """A forecaster against the champion: improvement, its interval, and objections."""

    improvement: float
    low: float
    high: float
    assets: dict[str, AssetVerdict]
    against: tuple[str, ...]


def _compare(
    errors: HoldoutErrors, challenger: Floats, settings: GateSettings, block: int
) -> _Comparison:
    """Compare a forecaster's errors with the champion's."""
    drawn = draw_by_asset(
        challenger, errors.champion, errors.asset, settings.resamples, block, settings.seed
    )
    assets: dict[str, AssetVerdict] = {}
    for name, pair in drawn.items():
        rows = errors.asset == name
        assets[name] = AssetVerdict(
            int(rows.sum()),
            improvement(float(challenger[rows].sum()), float(errors.champion[rows].sum())),
            *interval(*pair, settings.confidence),
        )
    low, high = interval(*together(drawn.values()), settings.confidence)
    better = improvement(float(np.mean(challenger)), float(np.mean(errors.champion)))
    against = (
        *_against_all(len(errors.asset), better, low, settings),
        *_against_assets(errors, challenger, assets, settings),
        *_against_unjudged(errors, assets, settings),
    )
    return _Comparison(better, low, high, assets, against)


def _check(errors: HoldoutErrors) -> None:
    columns = (errors.challenger, errors.champion, errors.persistence)
    if not len(errors.asset) or any(len(column) != len(errors.asset) for column in columns):
        raise DataError("the gate needs the errors of all three forecasters on the same windows")
    if not all(np.isfinite(column).all() for column in columns):
        raise DataError("the gate got errors that are not finite; the challenger cannot be judged")


def _against_all(windows: int, better: float, low: float, settings: GateSettings) -> list[str]:
    against = []
    if windows < settings.min_windows:
        against.append(f"only {windows} hold-out windows; {settings.min_windows} are needed")
    if better < settings.margin:
        against.append(
            f"{better:.1%} better than the champion, where {settings.margin:.1%} is asked for"
        )
    elif low <= 0:
        against.append(
            f"{better:.1%} better than the champion may be luck: the interval begins at {low:.1%}"
        )
    return against


def _against_assets(
    errors: HoldoutErrors,
    challenger: Floats,
    assets: dict[str, AssetVerdict],
    settings: GateSettings,
) -> list[str]:
    against = []
    for name, asset in assets.items():
        rows = errors.asset == name
        loss = float(challenger[rows].mean() - errors.champion[rows].mean())
        # Worse by more than the limit, significantly; or by twice the limit, significant or not.
        sure = asset.high < 0 or asset.improvement < -2 * settings.asset_limit
        if loss > settings.negligible and asset.improvement < -settings.asset_limit and sure:
            against.append(
                f"{-asset.improvement:.1%} worse on {name}, where {settings.asset_limit:.0%} is"
                " the limit"
            )
    return against


def _against_unjudged(
    errors: HoldoutErrors, assets: dict[str, AssetVerdict], settings: GateSettings
) -> list[str]:
    all_assets = errors.served | assets.keys()
    few = sorted(
        name
        for name in all_assets
        if name not in assets or assets[name].windows < settings.asset_windows
    )
    if len(few) <= settings.unjudged * len(all_assets):
        return []
    shown = few[:NAMED]
    more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
    why = f"fewer than {settings.asset_windows} hold-out windows"
    return [f"{', '.join(shown)}{more} cannot be judged yet: {why}"]
