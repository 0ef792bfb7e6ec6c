"""Scores a recording with a version of a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import msgspec

from millrace.console.operations.models import read_registry
from millrace.contracts.errors import SettingsError
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.producers.sources.opening import open_recording
from millrace.producers.windows import windows
from millrace.replay.dataset import DatasetWindows
from millrace.replay.job import replay_part
from millrace.replay.plan import AS_SERVED, Part, make_plan
from millrace.replay.sinks.opening import absolute, open_sink
from millrace.replay.sinks.sink import Tally
from millrace.replay.versions import choose


class Scored(msgspec.Struct, frozen=True):
    """Result of scoring a recording.

    Attributes:
        id: Id of the scoring; the same recording, version and destination have the same.
        model: The version, as ``MODEL@VERSION``.
        where: Where the results are.
        tally: Numbers of windows by result.
        seconds: Time that it took.
    """

    id: str
    model: str
    where: str
    tally: Tally
    seconds: float


def score_dataset(
    settings: Settings,
    dataset: str,
    model: str,
    destination: str,
    tell: Callable[[int, int], None],
) -> Scored:
    """Score all windows of a recording, or what is left of them.

    Args:
        settings: Where the registry and the artefacts are.
        dataset: A ``dataset.toml``, or the word ``fleet``.
        model: ``MODEL@VERSION``, a version's number, or ``active``.
        destination: A file or a prefix of the object store.
        tell: Receives the number of windows that are done, and of all.

    Raises:
        DataError: The recording cannot be read, or something else is at the destination.
        ServerError: A server does not answer.
        SettingsError: The version or the destination is none, or another model reads the
            recording's sensors.
    """
    began = time.monotonic()
    where = absolute(destination)
    if not where.endswith(".parquet") and "://" not in where:
        raise SettingsError(
            f"results of a recording go to FILE.parquet or s3://bucket/prefix, not to a topic like"
            f" {destination}; `millrace edge replay` sends the recording itself"
        )
    if model == AS_SERVED:
        raise SettingsError("a recording was not served: name a version as MODEL@NUMBER")
    registry = read_registry(settings)
    choices = choose(model, registry)
    recording = open_recording(dataset, settings)
    reader = registry.by_sensor_set(recording.spec.sensor_set)
    chosen = next((c for c in choices if reader is not None and c.model == reader.spec.name), None)
    if chosen is None:
        named = "no model reads" if reader is None else f"model {reader.spec.name} reads"
        raise SettingsError(
            f"{named} the sensors of {dataset}; declare it with `millrace models declare`, or name"
            " that model"
        )
    found = windows(recording.frame(), recording.spec)
    origin = DatasetWindows(found, registry, ObjectStore(settings))
    part = Part(0, 0, len(found), len(found))
    plan = make_plan(
        settings.namespace,
        [part],
        f"{chosen.model}@{chosen.version}",
        [chosen],
        where,
        origin=f"{dataset} sha256:{origin.digest()}",
    )
    tally = Tally()
    for written in replay_part(
        plan, part, lambda: origin, lambda: open_sink(settings, plan.destination, plan.id)
    ):
        tally = written.tally
        tell(tally.records, len(found))
    with closing(origin):
        place = open_sink(settings, plan.destination, plan.id).finish()
    return Scored(plan.id, plan.model, place, tally, time.monotonic() - began)
