"""Loads versions in the background: fetch, verify, warm up, then publish `ready`.

The states of a version on a replica: *wanted* (approved, serving, or needed by a batch), then
*ready* (published, and available to the consumer) or *unloadable* (published, with an alert that
names the replica; if no live replica can load it, the trainer's release controller activates the
last good version again). Failures of the replica's environment do not count against the version:
while the object store, the bucket or memory is unavailable, it stays *wanted*, with the same alert,
and the last good version is used instead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import structlog
from confluent_kafka import KafkaException

from millrace.contracts.clock import now
from millrace.contracts.errors import MillraceError, ServerError
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.event import Event
from millrace.contracts.events.model_event import Ready, Unloadable
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import PERSISTENCE
from millrace.contracts.normaliser import Normaliser
from millrace.inference.metrics import LACKING, LOADS
from millrace.inference.serving.load_version import load_version
from millrace.inference.serving.networks import Networks
from millrace.inference.serving.servables import Servable, Servables
from millrace.infra.kafka.errors import error_of, is_transient
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.kafka.retry import RetryPolicy, Stopped
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.registry.state import Registry, State, Version

_log = structlog.get_logger(__name__)
_ORIGIN: Final = "/millrace/inference"
#: Replaced versions per model that stay loaded: a rollback to one of them is immediate.
KEPT_EPOCHS: Final = 3
#: Poll timeout for registry events, after which wanted versions are checked, seconds.
POLL_SECONDS: Final = 0.1
#: Outage of the object store after which micro-batches no longer wait for a version, seconds.
AWAY_SECONDS: Final = 3.0
#: How often the fetch of a version is retried, and how often a failure is logged, seconds.
RETRY_SECONDS: Final = 0.5
TELL_SECONDS: Final = 60.0
#: How long a micro-batch waits for the fallback version, seconds.
FALLBACK_SECONDS: Final = 5.0


@dataclass
class _Outage:
    """An outage of the object store, as seen by one version.

    Attributes:
        began: Time of the first failed request.
        again: Time of the next retry.
        tell: Time of the next log entry.
    """

    began: float
    again: float = 0.0
    tell: float = 0.0


class Loader:
    """Keeps the servables in sync with the registry, on its own thread."""

    def __init__(
        self,
        settings: Settings,
        replica: str,
        store: ObjectStore,
        networks: Networks,
        servables: Servables,
    ) -> None:
        """Store the collaborators and read the registry."""
        self._settings = settings
        self._replica = replica
        self._store = store
        self._networks = networks
        self._servables = servables
        self._publisher = Publisher(settings, _ORIGIN)
        self._alerted: set[tuple[str, int]] = set()
        self._outages: dict[tuple[str, int], _Outage] = {}
        self._unsent: deque[Event] = deque()
        self._feed = self._opened()

    def run(self, stop: threading.Event) -> None:
        """Follow the registry until a stop signal; retries while the broker is unavailable."""
        patience = RetryPolicy(stop)
        with suppress(Stopped):
            while not stop.is_set():
                try:
                    self.step()
                except KafkaException as error:
                    if not is_transient(error_of(error)):
                        raise
                    # This feed has lost the events fetched with the error: read the log again.
                    _log.warning("registry to be read again", why=str(error))
                    self._feed = patience.call(self._opened, "the registry")
                except ServerError as error:
                    _log.warning("not said yet", why=str(error), events=len(self._unsent))
        self._feed.close()

    def _opened(self) -> ModelFeed:
        feed = ModelFeed(self._settings)
        feed.catch_up()
        return feed

    def step(self) -> None:
        """Apply new events, load wanted versions, drop others, and publish the result.

        Raises:
            ServerError: The events could not be published; the next step retries.
        """
        self._feed.poll(POLL_SECONDS)
        registry = self._feed.registry
        # Persistence first: it needs no object store, and is the fallback for all others.
        for model, version in sorted(_wanted(registry) | self._servables.wanted()):
            known = registry.models.get(model)
            if known is None or version not in known.versions:
                continue
            outage = self._outages.get((model, version))
            if outage is not None and time.monotonic() < outage.again:
                continue
            if not self._servables.knows(model, version):
                self._load(known.versions[version])
        self._servables.keep_only(_kept(registry))
        for name, known_model in registry.models.items():
            if (serving := known_model.serving) is not None:
                is_lacking = not self._servables.has(name, serving.version)
                LACKING.labels(name, self._replica).set(is_lacking)
        while self._unsent:
            self._publisher.send(self._unsent[0])
            self._unsent.popleft()

    @property
    def loading(self) -> bool:
        """Whether a version that serves, or may soon, is neither loaded nor refused."""
        return bool(self._servables.missing(_wanted(self._feed.registry)))

    def fallback(self, model: str, version: int) -> tuple[Servable, Normaliser] | None:
        """Find the last good version before one that cannot be loaded, or persistence.

        Returns:
            The last good version, and the units of the one that cannot be loaded; None if
            the registry knows no such version.

        Raises:
            ServerError: Not even persistence is loaded.
        """
        known = self._feed.registry.models.get(model)
        if known is None or version not in known.versions:
            return None
        units = known.versions[version].registered.normaliser
        replicas = frozenset({self._replica})
        for candidate in (known.last_good_before(version, replicas), PERSISTENCE):
            servable = self._servables.find(model, candidate, FALLBACK_SECONDS)
            if servable is not None:
                return servable, units
        raise ServerError(f"model {model}: not even persistence is loaded; was it registered?")

    def _load(self, version: Version) -> None:
        registered = version.registered
        name, number = registered.model, version.number
        began = time.monotonic()
        try:
            if registered.artefact is None:
                # While only persistence serves, trace the architecture that will be trained: the
                # first swap is then as cheap as any other.
                self._networks.prepare(registered.spec)
            servable = load_version(self._store, self._networks, version)
        except ServerError as error:
            self._wait_for_store(name, number, str(error), began)
            return  # the store may recover: a later step retries
        except MillraceError as error:
            LOADS.labels("refused").inc()
            _log.error("version refused", model=name, version=number, why=str(error))
            self._say_unloadable(name, number, str(error))
            self._servables.refuse(name, number)
            return
        self._outages.pop((name, number), None)
        self._servables.put(servable)
        LOADS.labels("ready").inc()
        _log.info("version ready", model=name, version=number)
        self._unsent.append(
            Ready(
                id="ready-" + digest_of(name, number, self._replica, uuid4().hex),
                model=name,
                version=number,
                at=now(),
                replica=self._replica,
            )
        )

    def _wait_for_store(self, model: str, version: int, why: str, began: float) -> None:
        """Postpone a version; if the outage lasts, the last good version is used instead."""
        now_s = time.monotonic()
        outage = self._outages.setdefault((model, version), _Outage(began))
        outage.again = now_s + RETRY_SECONDS
        if now_s >= outage.tell:
            outage.tell = now_s + TELL_SECONDS
            _log.warning("cannot fetch a version yet", model=model, version=version, why=why)
        self._alert(model, version, f"not now: {why}")
        if now_s - outage.began >= AWAY_SECONDS:
            self._servables.postpone(model, version)

    def _say_unloadable(self, model: str, version: int, why: str) -> None:
        self._unsent.append(
            Unloadable(
                id="unloadable-" + digest_of(model, version, self._replica, uuid4().hex),
                model=model,
                version=version,
                at=now(),
                replica=self._replica,
                detail=why,
            )
        )
        self._alert(model, version, why)

    def _alert(self, model: str, version: int, why: str) -> None:
        """Publish an alert, once for each version, that it cannot be loaded."""
        if (model, version) in self._alerted:
            return
        self._alerted.add((model, version))
        moment = now()
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
            detail=f"{self._replica} cannot load version {version} of {model}: {why}",
        )
        self._unsent.append(alert)


def _wanted(registry: Registry) -> set[tuple[str, int]]:
    """Versions that serve or may soon, and persistence."""
    serving = {
        (name, version.number)
        for name, model in registry.models.items()
        for version in model.versions.values()
        if version.state in {State.APPROVED, State.ACTIVE}
    }
    return serving | {(name, PERSISTENCE) for name in registry.models}


def _kept(registry: Registry) -> set[tuple[str, int]]:
    """Versions that serve, may soon, or may serve again."""
    recent = {
        (name, serving.version)
        for name, model in registry.models.items()
        for serving in model.epochs[-KEPT_EPOCHS:]
    }
    return _wanted(registry) | recent
