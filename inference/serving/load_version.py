"""Loads a version: fetches its artefact, verifies it, and prepares its network."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from millrace.contracts.errors import DataError
from millrace.inference.serving.networks import Networks
from millrace.inference.serving.servables import Persistence, Servable
from millrace.infra.object_store import ObjectStore
from millrace.model_families.artefact import fetch
from millrace.registry.state import Version


def load_version(store: ObjectStore, networks: Networks, version: Version) -> Servable:
    """Fetch, verify and warm a version.

    Args:
        store: Where artefacts are.
        networks: Compiled networks, to which that of the version is added.
        version: A registered version.

    Raises:
        DataError: It differs from its registration, or its forecasts are not finite.
        ServerError: The object store is unavailable or has no bucket, or memory is short.
    """
    registered = version.registered
    spec = registered.spec
    if registered.artefact is None:
        digest = sha256(msgspec.json.encode(spec)).hexdigest()
        return Servable(spec, version.number, registered.normaliser, digest, Persistence(spec))
    loaded = fetch(store, registered.artefact)
    if loaded.normaliser != registered.normaliser:
        raise DataError(
            f"model {spec.name} version {version.number}: the artefact's normaliser is not"
            " the registered one"
        )
    forecaster = networks.forecaster(loaded.architecture, loaded.weights, spec)
    return Servable(
        spec, version.number, registered.normaliser, registered.artefact.digest, forecaster
    )
