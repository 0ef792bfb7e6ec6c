"""The gate: three errors per hold-out window in, a verdict with its reasons out.

A challenger serves only if, on the same frozen and most recent hold-out,

1. it is better than the champion by a margin, and the lower end of a bootstrap interval of
   that improvement is above zero,
2. it is not worse than the champion on any asset by more than a limit (again by the
   interval: a little bad luck is no proof of harm, but a large loss is, by itself, on however
   few windows: nothing vouches for a challenger on an asset that has only just begun),
3. it is better than persistence,
4. all but a few of the assets that it would serve have enough hold-out windows to be judged
   by. (On the wells a version that was approved an hour after a second well had begun to
   send made that well 9 % worse for a month.)

Consecutive windows overlap and errors come in spells, so whole blocks of an asset's windows
are drawn, never single ones, and the windows of each asset among themselves. The improvement
is of sums: 1 - sum(challenger) / sum(champion).

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> champion = rng.uniform(0.8, 1.2, 200)
>>> errors = HoldoutErrors(champion * 0.8, champion, champion * 1.5, np.array(["A"] * 200))
>>> judge(errors, GateSettings(), block=5).approved
True

Reference: H. R. Künsch, The Jackknife and the Bootstrap for General Stationary Observations,
Annals of Statistics 17 (1989); circular blocks after Politis and Romano (1992).
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from contracts.model_spec import ModelSpec

Floats = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

#: Below this an error is nought; asset errors are compared with it added.
_TINY = 1e-9
#: Assets that a reason names, at most.
NAMED = 3


class GateSettings(msgspec.Struct, frozen=True):
    """How strict the gate is.

    Attributes:
        margin: Relative improvement over the champion that is asked for at least.
        confidence: One-sided confidence of the interval's ends.
        asset_limit: Relative loss that an asset may suffer.
        negligible: Loss of an asset, in standard deviations, that is none: on a machine
            that hardly moves a relative loss says little.
        min_windows: Fewest hold-out windows to judge by.
        asset_windows: Fewest of an asset to judge that asset by.
        unjudged: Share of the assets that may go without a judgement: new ones join a large
            fleet all the time.
        resamples: Bootstrap draws.
        seed: Of the draws.
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
    """How an asset fares.

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
    """What the gate decides.

    Attributes:
        approved: Whether the challenger may serve.
        reasons: Why, one sentence each; of a rejection, only what speaks against it.
        challenger: Mean error on the hold-out.
        champion: The champion's.
        persistence: Persistence's.
        improvement: Relative improvement over the champion.
        low: Lower end of its interval.
        high: Upper end of its interval.
        windows: Windows judged by.
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
    """Judge a challenger.

    Args:
        errors: Errors on the hold-out.
        settings: How strict to be.
        block: Windows of a bootstrap block, see `block_length`.

    Raises:
        DataError: Errors are not finite, or there are none.
    """
    _check(errors)
    rng = np.random.default_rng(settings.seed)
    names = [str(name) for name in np.unique(errors.asset)]
    drawn: dict[str, tuple[Float64, Float64]] = {}
    assets: dict[str, AssetVerdict] = {}
    for name in names:
        rows = errors.asset == name
        challenger, champion = _draw(errors, rows, settings.resamples, block, rng)
        drawn[name] = (challenger, champion)
        low, high = _interval(challenger, champion, settings.confidence)
        assets[name] = AssetVerdict(
            int(rows.sum()),
            _improvement(float(errors.challenger[rows].sum()), float(errors.champion[rows].sum())),
            low,
            high,
        )
    low, high = _interval(
        np.sum([pair[0] for pair in drawn.values()], axis=0),
        np.sum([pair[1] for pair in drawn.values()], axis=0),
        settings.confidence,
    )
    challenger_mean, champion_mean, persistence_mean = (
        float(np.mean(e)) for e in (errors.challenger, errors.champion, errors.persistence)
    )
    improvement = _improvement(challenger_mean, champion_mean)
    against = [
        *_against_all(len(errors.asset), improvement, low, settings),
        *_against_assets(errors, assets, settings),
        *_against_unjudged(errors, assets, settings),
    ]
    if not challenger_mean < persistence_mean:
        against.append(
            f"not better than persistence ({challenger_mean:.4f} against {persistence_mean:.4f})"
        )
    return Verdict(
        approved=not against,
        reasons=tuple(against)
        or (
            (
                f"{improvement:.1%} better than the champion (at least {low:.1%} with"
                f" {settings.confidence:.0%} confidence) on {len(errors.asset)} windows, no asset"
                f" worse by more than {settings.asset_limit:.0%}, better than persistence"
            ),
        ),
        challenger=challenger_mean,
        champion=champion_mean,
        persistence=persistence_mean,
        improvement=improvement,
        low=low,
        high=high,
        windows=len(errors.asset),
        assets=assets,
    )


def _check(errors: HoldoutErrors) -> None:
    columns = (errors.challenger, errors.champion, errors.persistence)
    if not len(errors.asset) or any(len(column) != len(errors.asset) for column in columns):
        raise DataError("the gate needs the errors of all three forecasters on the same windows")
    if not all(np.isfinite(column).all() for column in columns):
        raise DataError("the gate got errors that are not finite; the challenger cannot be judged")


def _against_all(windows: int, improvement: float, low: float, settings: GateSettings) -> list[str]:
    against = []
    if windows < settings.min_windows:
        against.append(f"only {windows} hold-out windows; {settings.min_windows} are needed")
    if improvement < settings.margin:
        against.append(
            f"{improvement:.1%} better than the champion, where {settings.margin:.1%} is asked for"
        )
    elif low <= 0:
        against.append(
            f"{improvement:.1%} better than the champion may be luck: the interval begins at"
            f" {low:.1%}"
        )
    return against


def _against_assets(
    errors: HoldoutErrors, assets: dict[str, AssetVerdict], settings: GateSettings
) -> list[str]:
    against = []
    for name, asset in assets.items():
        rows = errors.asset == name
        loss = float(errors.challenger[rows].mean() - errors.champion[rows].mean())
        # Worse by more than the limit, and not by chance; or by twice the limit, whatever chance.
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


def _improvement(challenger: float, champion: float) -> float:
    return 1.0 - (challenger + _TINY) / (champion + _TINY)


def _interval(challenger: Float64, champion: Float64, confidence: float) -> tuple[float, float]:
    improvements = 1.0 - (challenger + _TINY) / (champion + _TINY)
    low, high = np.quantile(improvements, [1 - confidence, confidence])
    return float(low), float(high)


def _draw(
    errors: HoldoutErrors,
    rows: npt.NDArray[np.bool_],
    resamples: int,
    block: int,
    rng: np.random.Generator,
) -> tuple[Float64, Float64]:
    """Draw circular blocks of an asset's windows; return the sums of both errors per draw."""
    pair = np.stack([errors.challenger[rows], errors.champion[rows]]).astype(np.float64)
    count = pair.shape[1]
    length = min(block, count)
    # Sums over every block that could be drawn; a draw is then a sum of such sums.
    wrapped = np.concatenate([pair, pair[:, : length - 1]], axis=1)
    running = np.concatenate([np.zeros((2, 1)), np.cumsum(wrapped, axis=1)], axis=1)
    blocks = running[:, length:] - running[:, :-length]
    drawn = rng.integers(count, size=(resamples, max(1, round(count / length))))
    # The number of blocks is rounded; the scale keeps assets in proportion to their windows.
    scale = count / (drawn.shape[1] * length)
    return blocks[0][drawn].sum(axis=1) * scale, blocks[1][drawn].sum(axis=1) * scale
