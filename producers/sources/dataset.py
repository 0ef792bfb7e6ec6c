"""A recorded dataset: reads the files of a ``dataset.toml`` into one table of readings.

```
dataset.toml ──► Description ──► files ──► tables ──► readings in UTC, one row per sample
```
"""

from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.settings import Settings
from millrace.producers.sources.description import Description, describe, story_of
from millrace.producers.sources.recording import ASSET, SEGMENT, TIME, Story
from millrace.producers.sources.tables import S3, fetch, read_table, resolve

DESCRIPTION: Final = "dataset.toml"
#: Share of a recording that trains the first model if the description has no story.
TRAINING_SHARE: Final = 0.25


def open_dataset(where: str, settings: Settings) -> "Dataset":
    """Read a description; the files are read when their readings are requested.

    Raises:
        DataError: There is no description, or it is not valid.
        ServerError: The object store does not answer.
    """
    if where.startswith(S3):
        where = where if where.endswith(".toml") else f"{where.rstrip('/')}/{DESCRIPTION}"
    elif Path(where).is_dir():
        where = str(Path(where) / DESCRIPTION)
    try:
        text = fetch(where, settings).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not a dataset.toml, for it is not text in UTF-8") from error
    return Dataset(describe(text, where), where, settings)


class Dataset:
    """A recording in files."""

    def __init__(self, description: Description, where: str, settings: Settings) -> None:
        """Take a checked description.

        Args:
            description: The description.
            where: Path or address of the description, to which its files are relative.
            settings: Where the object store is.
        """
        self._description = description
        self._where = where
        self._settings = settings

    @property
    def spec(self) -> ModelSpec:
        """Model spec for these readings."""
        return self._description.spec

    @property
    def title(self) -> str:
        """One line for people."""
        return self._description.title or self._description.name

    @cached_property
    def story(self) -> Story:
        """The described story, or else the whole recording, its first part to train on."""
        told = self._description.story
        if told is not None:
            story = story_of(self._description, told, self._where)
            if story.assets:
                return story
            return Story(self._assets(), story.train_from, story.train_until, story.replay_until)
        times = self._readings[TIME]
        first: datetime = times.min().to_pydatetime()
        end: datetime = times.max().to_pydatetime() + timedelta(seconds=self.spec.period_seconds)
        return Story(self._assets(), first, first + TRAINING_SHARE * (end - first), end)

    def frame(self) -> pd.DataFrame:
        """Return the readings of the story; see `Recording.frame`."""
        story, readings = self.story, self._readings
        unknown = sorted(set(story.assets) - set(readings[ASSET].unique()))
        if unknown:
            raise DataError(
                f"{self._where}: story.assets: no readings of {unknown}, only of"
                f" {list(self._assets())}; correct the spelling"
            )
        told = readings[
            readings[ASSET].isin(story.assets)
            & (readings[TIME] >= pd.Timestamp(story.train_from))
            & (readings[TIME] < pd.Timestamp(story.replay_until))
        ]
        if told.empty:
            raise DataError(
                f"{self._where}: story: no readings from {story.train_from:%Y-%m-%d} to"
                f" {story.replay_until:%Y-%m-%d}; the recording has"
                f" {readings[TIME].min():%Y-%m-%d} to {readings[TIME].max():%Y-%m-%d}"
            )
        return told.reset_index(drop=True)

    def _assets(self) -> tuple[str, ...]:
        return tuple(sorted(self._readings[ASSET].unique()))

    @cached_property
    def _readings(self) -> pd.DataFrame:
        """All readings of the description's assets, sorted, without repeated samples."""
        tables = [self._read(name) for name in self._description.files]
        joined = pd.concat(tables, ignore_index=True)
        if joined.empty:
            raise DataError(f"{self._where}: files and assets together hold no reading")
        first_wins = joined.drop_duplicates([ASSET, SEGMENT, TIME], keep="first")
        return first_wins.sort_values([TIME, ASSET], kind="stable", ignore_index=True)

    def _read(self, name: str) -> pd.DataFrame:
        """Read one file's readings of the described assets into the columns of a frame."""
        described, where = self._description, resolve(name, self._where)
        columns = {sensor.name: sensor.column or sensor.name for sensor in described.sensors}
        lacked = {sensor for absent in described.absent.values() for sensor in absent}
        raw = read_table(
            fetch(where, self._settings),
            where,
            [
                *filter(None, (described.time, described.asset, described.segment)),
                *(column for sensor, column in columns.items() if sensor not in lacked),
            ],
            [column for sensor, column in columns.items() if sensor in lacked],
        )
        if described.asset and described.assets:
            raw = raw[raw[described.asset].astype(str).isin(described.assets)]
        made = pd.DataFrame({TIME: _times(raw[described.time], f"{where}: {described.time}")})
        made[ASSET] = raw[described.asset].astype(str) if described.asset else described.asset_name
        made[SEGMENT] = raw[described.segment].fillna("").astype(str) if described.segment else ""
        for sensor, column in columns.items():
            lacking = made[ASSET].isin(
                [asset for asset, absent in described.absent.items() if sensor in absent]
            )
            if column in raw:
                numbers = _numbers(raw[column], f"{where}: {column}")
                made[sensor] = numbers.where(~lacking)
            elif lacking.all():
                made[sensor] = np.float32(np.nan)
            else:
                raise DataError(
                    f"{where}: has no column {column!r}; correct the description, or add the"
                    f" assets {sorted(made.loc[~lacking, ASSET].unique())} to [absent]"
                )
        return made


def _times(column: "pd.Series[str]", where: str) -> "pd.Series[pd.Timestamp]":
    """Read event times; naive ones are UTC."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise DataError(f"{where}: holds numbers; give times as timestamps or ISO 8601 text")
    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: not times in ISO 8601: {error}") from error
    if times.isna().any():
        row = int(times.isna().to_numpy().argmax()) + 1
        raise DataError(f"{where}: row {row} has no time; remove such rows")
    return times.astype("datetime64[ms, UTC]")


def _numbers(column: "pd.Series[float]", where: str) -> "pd.Series[float]":
    """Read readings as float32, NaN where missing."""
    try:
        numbers = pd.to_numeric(column).astype("float64")
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: not numbers: {error}; leave missing readings empty") from error
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which validation reports
        return numbers.astype("float32")
