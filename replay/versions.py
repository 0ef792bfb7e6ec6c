"""The versions that windows run on: those that served them, or versions that a user names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.events.ledger import LedgerEntry
from millrace.inference.serving.load_version import load_version
from millrace.inference.serving.networks import Networks
from millrace.inference.serving.servables import Servable
from millrace.infra.object_store import ObjectStore
from millrace.registry.state import Registry
from millrace.replay.plan import AS_SERVED, Choice
from millrace.stream_processors.windows.stamps import Stamps

#: Value of ``--model`` for the versions that serve when the replay is planned.
ACTIVE: Final = "active"
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Stamping(Protocol):
    """Decides which version windows of a partition run on."""

    def of(self, model: str, partition: int, offsets: Sequence[int]) -> list[LedgerEntry]:
        """Find the stamps of windows, in their order.

        Raises:
            LookupError: None applies.
        """
        ...


class Named:
    """Stamps all windows of a model with one version."""

    def __init__(self, choices: Iterable[Choice]) -> None:
        """Store the versions."""
        self._choices = {choice.model: choice for choice in choices}

    def of(self, model: str, partition: int, offsets: Sequence[int]) -> list[LedgerEntry]:
        """See `Stamping`."""
        choice = self._choices[model]
        stamp = LedgerEntry(model, partition, choice.epoch, choice.version, 0, _BEGINNING)
        return [stamp] * len(offsets)


def as_served(ledger: Iterable[LedgerEntry], registry: Registry) -> Stamps:
    """Stamps of the ledger, as the stream processor reads them."""
    stamps = Stamps()
    for entry in ledger:
        if registry.has_served(entry.model, entry.version, entry.epoch):
            stamps.learn(entry)
    return stamps


def choose(named: str, registry: Registry) -> list[Choice]:
    """Resolve what a user names as the model of a replay.

    Args:
        named: ``as-served``, ``active``, a version's number, or ``MODEL@VERSION``, or several of
            the latter with commas between.
        registry: All models.

    Returns:
        The versions; none for ``as-served``.

    Raises:
        SettingsError: It names no version, or one that is not there.
    """
    if named == AS_SERVED:
        return []
    if not registry.models:
        raise SettingsError("no model is declared yet; see `millrace models declare`")
    if named == ACTIVE:
        return [
            Choice(name, model.serving.version, model.serving.epoch)
            for name, model in sorted(registry.models.items())
            if model.serving is not None
        ]
    if named.isdecimal():
        if len(registry.models) > 1:
            names = ", ".join(f"{name}@{named}" for name in sorted(registry.models))
            raise SettingsError(f"there are several models: say which, as in {names}")
        named = f"{next(iter(registry.models))}@{named}"
    return [_choice(each.strip(), registry) for each in named.split(",")]


def _choice(named: str, registry: Registry) -> Choice:
    name, _, number = named.rpartition("@")
    model = registry.models.get(name)
    if model is None or not number.isdecimal():
        known = ", ".join(sorted(registry.models))
        raise SettingsError(
            f"{named!r} is no version: give as-served, active, a number, or MODEL@NUMBER with a"
            f" model of {known}"
        )
    if int(number) not in model.versions:
        versions = ", ".join(map(str, sorted(model.versions)))
        raise SettingsError(f"model {name} has no version {number}; it has {versions}")
    epochs = [each.epoch for each in model.epochs if each.version == int(number)]
    return Choice(name, int(number), max(epochs, default=0))


class LoadedVersions:
    """Loads versions when they are first used."""

    def __init__(self, store: ObjectStore) -> None:
        """Load nothing yet."""
        self._store = store
        self._networks: Networks | None = None
        self._loaded: dict[tuple[str, int], Servable] = {}

    def __len__(self) -> int:
        """Number of loaded versions."""
        return len(self._loaded)

    def get(self, registry: Registry, model: str, version: int) -> Servable:
        """Load a version, or return it if it is loaded.

        Raises:
            DataError: The registry does not know it, or its artefact is not what was registered.
            ServerError: The store does not answer.
        """
        found = self._loaded.get((model, version))
        if found is None:
            known = registry.models.get(model)
            if known is None or version not in known.versions:
                raise DataError(f"the registry has no version {version} of model {model}")
            if self._networks is None:
                self._networks = Networks()
            found = load_version(self._store, self._networks, known.versions[version])
            self._loaded[model, version] = found
        return found
