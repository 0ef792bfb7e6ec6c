"""Parses and checks a ``dataset.toml``: the recording, its files, and the task of a model.

It returns a typed `Description`, or raises a `DataError` that names the file, the key and the
remedy. Nothing is guessed: an unknown key is an error, since it is usually a misspelt known one.

>>> text = '''
... name = "tank"
... files = ["tank.csv"]
... time = "t"
... asset_name = "tank-1"
... period_seconds = 60
... sensors = [{name = "level", unit = "m"}]
... task = {kind = "forecast", window = 32, horizon = 8, stride = 8}
... '''
>>> describe(text, "tank.toml").spec.target_names
('level',)
>>> describe(text.replace("stride = 8", "stride = 0"), "tank.toml")
Traceback (most recent call last):
    ...
millrace.contracts.errors.DataError: tank.toml: task.stride: Expected `int` >= 1
"""

import re
import tomllib
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import DEFAULT_RECIPE, ModelSpec
from millrace.model_families.known import family_named
from millrace.producers.sources.recording import ASSET, SEGMENT, TIME, Story

Name = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the description; unknown keys are errors."""


class Sensor(_Strict, frozen=True):
    """A recorded sensor.

    Attributes:
        name: Its name, as windows carry it.
        unit: Its unit, for people.
        column: Its column in the files; its name when empty.
    """

    name: Name
    unit: str = ""
    column: str = ""


class Labels(_Strict, frozen=True):
    """Manual labels; accepted and not used yet.

    Attributes:
        column: Their column.
        normal: Values that mean normal operation.
    """

    column: Name
    normal: tuple[int | float | str, ...] = ()


class Task(_Strict, frozen=True):
    """The forecasting task of a model; see `ModelSpec`."""

    kind: Literal["forecast"]
    window: Count
    horizon: Count
    stride: Count
    target: Literal["mean", "sequence"] = "mean"
    targets: tuple[Name, ...] = ()
    recipe: Name = DEFAULT_RECIPE


class StoryTable(_Strict, frozen=True):
    """The story, times as TOML dates or ISO 8601 text, UTC unless they have another zone."""

    train_from: Name
    train_until: Name
    replay_until: Name
    assets: tuple[Name, ...] = ()


class Description(_Strict, frozen=True):
    """A dataset.

    Attributes:
        name: Its name, and the model's.
        files: CSV, CSV.gz or Parquet: paths relative to the description, or ``s3://``.
        time: Column of the event time; naive times are UTC.
        period_seconds: Nominal time between samples.
        sensors: The sensors of a window, in order.
        task: The forecasting task.
        title: One line for people.
        licence: Licence of the recording.
        asset: Column that names the asset.
        asset_name: The asset, where there is no such column.
        assets: The assets to use; all if none are named.
        segment: Column that names the uninterrupted stretch of recording.
        labels: Manual labels.
        story: The stretch that a demonstration replays.
        absent: Sensors that an asset does not have, by asset: their readings count as missing
            whatever the files contain, and their columns need not exist.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    files: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    time: Name
    period_seconds: Annotated[float, msgspec.Meta(ge=0.001)]
    sensors: Annotated[tuple[Sensor, ...], msgspec.Meta(min_length=1)]
    task: Task
    title: str = ""
    licence: str = ""
    asset: str = ""
    asset_name: str = ""
    assets: tuple[Name, ...] = ()
    segment: str = ""
    labels: Labels | None = None
    story: StoryTable | None = None
    absent: dict[str, tuple[Name, ...]] = {}

    @property
    def spec(self) -> ModelSpec:
        """The model of this dataset.

        Raises:
            DataError: A target is not a sensor, or a sensor stands twice.
        """
        return ModelSpec(
            name=self.name,
            sensors=tuple(sensor.name for sensor in self.sensors),
            period_seconds=self.period_seconds,
            window=self.task.window,
            horizon=self.task.horizon,
            stride=self.task.stride,
            target=self.task.target,
            targets=self.task.targets,
            recipe=self.task.recipe,
        )


def describe(text: str, where: str) -> Description:
    """Parse a description.

    Args:
        text: TOML.
        where: Its path or address, for errors.

    Raises:
        DataError: It is not valid; names the file, the key and the remedy.
    """
    try:
        found = msgspec.convert(msgspec.to_builtins(tomllib.loads(text)), Description)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {_say(str(error))}") from error
    _check_assets(found, where)
    _check_sensors(found, where)
    if found.story is not None:
        story_of(found, found.story, where)
    return found


def story_of(description: Description, table: StoryTable, where: str) -> Story:
    """Parse the story's times.

    Raises:
        DataError: A time is not valid, or they are not in order.
    """
    train_from, train_until, replay_until = (
        _moment(getattr(table, key), f"{where}: story.{key}")
        for key in ("train_from", "train_until", "replay_until")
    )
    if not train_from < train_until < replay_until:
        raise DataError(
            f"{where}: story: train_from {train_from:%Y-%m-%d %H:%M}, train_until"
            f" {train_until:%Y-%m-%d %H:%M} and replay_until {replay_until:%Y-%m-%d %H:%M}"
            " must follow each other; put them in order"
        )
    return Story(table.assets or description.assets, train_from, train_until, replay_until)


def _say(problem: str) -> str:
    """Format msgspec's error as ``key: problem``."""
    what, _, path = problem.partition(" - at `")
    key = path.rstrip("`").removeprefix("$").removeprefix(".")
    unknown = re.search(r"unknown field `(.+)`", what)
    if unknown:
        full = f"{key}.{unknown[1]}" if key else unknown[1]
        return f"{full}: no such key; remove it or correct its spelling"
    absent = re.search(r"missing required field `(.+)`", what)
    if absent:
        full = f"{key}.{absent[1]}" if key else absent[1]
        return f"{full}: missing; add it"
    return f"{key}: {what}"


def _check_assets(found: Description, where: str) -> None:
    if bool(found.asset) == bool(found.asset_name):
        raise DataError(
            f"{where}: asset: name the column of the assets with `asset`, or with"
            " `asset_name` the one asset of files without such a column; exactly one of them"
        )
    named = set(found.assets) or ({found.asset_name} if found.asset_name else set())
    told = set(found.story.assets) if found.story else set()
    for key, names in (("story.assets", told), ("absent", set(found.absent))):
        if named and not names <= named:
            raise DataError(
                f"{where}: {key}: {sorted(names - named)} are not among the assets"
                f" {sorted(named)}; correct the spelling"
            )


def _check_sensors(found: Description, where: str) -> None:
    names = [sensor.name for sensor in found.sensors]
    if taken := sorted({TIME, ASSET, SEGMENT} & set(names)):
        raise DataError(
            f"{where}: sensors: {taken} mean something else in a table of readings;"
            " give them another `name`, with the file's as `column`"
        )
    for asset, absent in found.absent.items():
        if unknown := sorted(set(absent) - set(names)):
            raise DataError(
                f"{where}: absent.{asset}: {unknown} are not among the sensors {names};"
                " correct the spelling"
            )
    try:
        _ = found.spec
    except DataError as error:
        raise DataError(f"{where}: sensors or task.targets: {error}") from error
    try:
        family_named(found.task.recipe)
    except DataError as error:
        raise DataError(f"{where}: task.recipe: {error}") from error


def _moment(text: str, where: str) -> datetime:
    """Parse a time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(
            f"{where}: {text!r} is not a time; write one like 2017-02-01 or 2017-02-01T06:00Z"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
