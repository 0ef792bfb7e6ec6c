"""Loads versions in the background: fetch, verify, warm, and only then say `ready`.

The states of a version on a replica: *wanted* (approved, or serving, or a batch waits for
it), then *ready* (published, and available to the consumer) or *unloadable* (published,
with an alert; the trainer's release controller asks for the last good version again).
"""

from __future__ import annotations

import threading
from hashlib import sha256
from typing import Final
from uuid import uuid4

import msgspec
import structlog
from confluent_kafka import Producer

from contracts.drift_alert import DriftAlert
from contracts.errors import DataError, MillraceError, ServerError
from contracts.events import encode, headers_of, now
from contracts.ids import digest_of
from contracts.model_event import ModelEvent, Ready, Unloadable
from contracts.normaliser import Normaliser
from contracts.registry import Registry, State, Version
from contracts.topics import DRIFT_ALERTS, MODEL_EVENTS
from inference.metrics import LOADS
from inference.network import Networks
from inference.servables import Persistence, Servable, Servables
from infra.artefact import fetch
from infra.kafka import producer
from infra.model_feed import ModelFeed
from infra.object_store import ObjectStore
from infra.settings import Settings

_log = structlog.get_logger(__name__)
_ORIGIN: Final = "/millrace/inference"
#: Versions per model that stay loaded after another has taken their place: a rollback to
#: one of them is instant.
KEPT_EPOCHS: Final = 3
#: How long the loader waits for registry events before it looks for wanted versions, seconds.
POLL_SECONDS: Final = 0.1
#: Longest wait for the broker to confirm an event, seconds.
CONFIRM_SECONDS: Final = 15.0


class Loader:
    """Keeps the servables in step with the registry, on a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        replica: str,
        store: ObjectStore,
        networks: Networks,
        servables: Servables,
    ) -> None:
        """Take the collaborators and read the registry."""
        self._settings = settings
        self._replica = replica
        self._store = store
        self._networks = networks
        self._servables = servables
        self._producer: Producer = producer(settings)
        self._feed = ModelFeed(settings)
        self._feed.catch_up()

    def run(self, stop: threading.Event) -> None:
        """Follow the registry until told to stop."""
        while not stop.is_set():
            self.step()
        self._feed.close()

    def step(self) -> None:
        """Take what arrived, load what is wanted, drop what is not."""
        self._feed.poll(POLL_SECONDS)
        registry = self._feed.registry
        for model, version in _wanted(registry) | self._servables.wanted():
            known = registry.models.get(model)
            if known is None or version not in known.versions:
                continue
            if not self._servables.knows(model, version):
                self._load(known.versions[version])
        self._servables.keep_only(_kept(registry))

    def fallback(self, model: str, version: int) -> tuple[Servable, Normaliser]:
        """Find the last good version before one that cannot be loaded.

        Returns:
            The last good version, and the units of the one that cannot be loaded.
        """
        known = self._feed.registry.models[model]
        units = known.versions[version].registered.normaliser
        while True:
            version = known.last_good_before(version)
            servable = self._servables.find(model, version, CONFIRM_SECONDS)
            if servable is not None:
                return servable, units

    def _load(self, version: Version) -> None:
        registered = version.registered
        name, number = registered.model, version.number
        try:
            servable = self._servable(version)
        except ServerError as error:
            _log.warning("cannot fetch a version yet", model=name, version=number, why=str(error))
            return  # the store may come back: the next step tries again
        except MillraceError as error:
            LOADS.labels("refused").inc()
            _log.error("version refused", model=name, version=number, why=str(error))
            self._say_unloadable(name, number, str(error))
            self._servables.refuse(name, number, str(error))
            return
        self._servables.put(servable)
        LOADS.labels("ready").inc()
        _log.info("version ready", model=name, version=number)
        self._publish(
            Ready(
                id="ready-" + digest_of(name, number, self._replica, uuid4().hex),
                model=name,
                version=number,
                at=now(),
                replica=self._replica,
            )
        )

    def _servable(self, version: Version) -> Servable:
        """Fetch, verify and warm a version.

        Raises:
            DataError: It is not what the registry says, or makes no finite forecasts.
            ServerError: The object store does not answer.
        """
        registered = version.registered
        spec = registered.spec
        if registered.artefact is None:
            # While persistence is all that serves, trace what will be trained: the first
            # swap is then as cheap as any other.
            self._networks.prepare(spec)
            digest = sha256(msgspec.json.encode(spec)).hexdigest()
            return Servable(spec, version.number, registered.normaliser, digest, Persistence(spec))
        loaded = fetch(self._store, registered.artefact)
        if loaded.normaliser != registered.normaliser:
            raise DataError(
                f"model {spec.name} version {version.number}: the artefact's normaliser is not"
                " the registered one"
            )
        forecaster = self._networks.forecaster(loaded.architecture, loaded.weights, spec)
        return Servable(
            spec, version.number, registered.normaliser, registered.artefact.digest, forecaster
        )

    def _say_unloadable(self, model: str, version: int, why: str) -> None:
        moment = now()
        self._publish(
            Unloadable(
                id="unloadable-" + digest_of(model, version, self._replica, uuid4().hex),
                model=model,
                version=version,
                at=moment,
                replica=self._replica,
                detail=why,
            )
        )
        alert = DriftAlert(
            id="a-" + digest_of("unloadable", model, version, self._replica),
            asset="*",
            model=model,
            version=version,
            signal="serving",
            sensor=None,
            detector="loader",
            statistic=1.0,
            threshold=0.0,
            severity="critical",
            asks_training=False,
            event_time=moment,
            evidence_from=moment,
            samples=1,
            source=None,
            detail=f"version {version} of {model} cannot be loaded: {why}",
        )
        self._write(DRIFT_ALERTS.name, "*", encode(alert), headers_of(alert, _ORIGIN, moment))

    def _publish(self, event: ModelEvent) -> None:
        self._write(
            MODEL_EVENTS.name, event.model, encode(event), headers_of(event, _ORIGIN, event.at)
        )

    def _write(self, topic: str, key: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self._producer.produce(
            self._settings.named(topic), key=key, value=value, headers=list(headers)
        )
        if self._producer.flush(CONFIRM_SECONDS):
            raise ServerError("Kafka did not confirm an event of the registry in time")


def _wanted(registry: Registry) -> set[tuple[str, int]]:
    """Versions that serve or may soon."""
    return {
        (name, version.number)
        for name, model in registry.models.items()
        for version in model.versions.values()
        if version.state in {State.APPROVED, State.ACTIVE}
    }


def _kept(registry: Registry) -> set[tuple[str, int]]:
    """Versions that serve, may soon, or may be asked for again."""
    recent = {
        (name, serving.version)
        for name, model in registry.models.items()
        for serving in model.epochs[-KEPT_EPOCHS:]
    }
    return _wanted(registry) | recent | {(name, 0) for name in registry.models}
