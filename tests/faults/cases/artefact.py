"""Artefacts that are not what they should be: the last good version answers in their stead."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np

from millrace.contracts.events.model_event import Artefact, Unloadable
from millrace.contracts.topics import PREDICTIONS
from millrace.model_families.artefact import ARCHITECTURE, MANIFEST, WEIGHTS, PackedArtefact
from millrace.model_families.family import Weights
from millrace.model_families.lstm_highway.forecaster import HEAD_BIAS, HIGHWAY, architecture_of
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant
from tests.faults.harness.source import SPEC
from tests.faults.harness.versions import approved, packed, registered, seeded_weights
from tests.faults.oracle.evidence import model_events

_SOME = 100


def corrupt(packed_: PackedArtefact) -> dict[str, bytes]:
    """A bit of the weights is flipped in the store."""
    files = dict(packed_.files)
    data = bytearray(files[WEIGHTS])
    data[len(data) // 2] ^= 1
    return files | {WEIGHTS: bytes(data)}


def truncated(packed_: PackedArtefact) -> dict[str, bytes]:
    """The upload of the weights broke off."""
    files = dict(packed_.files)
    return files | {WEIGHTS: files[WEIGHTS][: len(files[WEIGHTS]) // 2]}


def missing(packed_: PackedArtefact) -> dict[str, bytes]:
    """The weights are not there."""
    return {name: data for name, data in packed_.files.items() if name != WEIGHTS}


def without_manifest(packed_: PackedArtefact) -> dict[str, bytes]:
    """Not even the manifest is there."""
    return {name: data for name, data in packed_.files.items() if name != MANIFEST}


def no_code(packed_: PackedArtefact) -> dict[str, bytes]:
    """The architecture is something else, and the manifest vouches for it."""
    return _vouched(packed_, ARCHITECTURE, b'{"kind": "lambda", "code": "os.system"}')


def _vouched(packed_: PackedArtefact, name: str, data: bytes) -> dict[str, bytes]:
    files = dict(packed_.files)
    manifest: dict[str, Any] = msgspec.json.decode(files[MANIFEST])
    manifest["files"][name] = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    return files | {name: data, MANIFEST: msgspec.json.encode(manifest)}


def _misshapen() -> Weights:
    weights = seeded_weights(SPEC, 1)
    return weights | {HEAD_BIAS: weights[HEAD_BIAS][:-1]}


def _overflowing() -> Weights:
    return {name: np.full_like(w, 3e38) for name, w in seeded_weights(SPEC, 1).items()}


def _spoil(name: str, spoil: Callable[[PackedArtefact], dict[str, bytes]]) -> None:
    @case(f"artefact/{name}")
    def play(plant: Plant) -> None:
        number = _next(plant)
        made = packed(SPEC, number)
        files = spoil(made)
        reference = Artefact(made.prefix, made.reference.digest)
        if MANIFEST in files and files[MANIFEST] != made.files[MANIFEST]:
            reference = Artefact(made.prefix, sha256(files[MANIFEST]).hexdigest())
        unusable(plant, number, files, reference)


def _weights(name: str, weights: Callable[[], Weights]) -> None:
    @case(f"artefact/{name}")
    def play(plant: Plant) -> None:
        number = _next(plant)
        made = packed(SPEC, number, weights=weights())
        unusable(plant, number, dict(made.files), made.reference)


def unusable(plant: Plant, number: int, files: dict[str, bytes], reference: Artefact) -> None:
    """Have a version that nobody can load serve all the same, and take it back."""
    good = plant.registry.models[SPEC.name].serving
    assert good is not None
    for name, data in files.items():
        plant.store.put(f"{reference.prefix}/{name}", data)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.publish(registered(SPEC, number, reference), approved(SPEC, number))
        plant.until(
            lambda: any(
                isinstance(e, Unloadable) and e.version == number
                for e in model_events(plant.observer)
            ),
            f"version {number} said to be unloadable",
        )
        plant.await_fences(plant.activate(number))
        plant.fault()
        plant.until_predicted(_SOME)
        plant.await_fences(plant.activate(good.version, back=True))
        plant.until_predicted(_SOME)
    answered = {p.version for p in plant.evidence().topics.predictions}
    plant.expect(number not in answered, f"version {number} has made predictions")


_spoil("corrupt", corrupt)
_spoil("truncated", truncated)
_spoil("missing", missing)
_spoil("without-manifest", without_manifest)
_spoil("not-a-network", no_code)
_weights("wrong-shape", _misshapen)
_weights("not-finite", _overflowing)


@case(
    "artefact/not-finite-on-some",
    own_plant=True,
    allowed_refusals=frozenset({"forecast_not_finite"}),
)
def some_forecasts_are_not_finite(plant: Plant) -> None:
    """A version that passes its trial and overflows on some windows: those are dead letters."""
    a = architecture_of(SPEC)
    size = 0.8e38 / np.sqrt(len(SPEC.sensors) * (SPEC.window - 1) * SPEC.window)
    weights = {name: np.zeros_like(w) for name, w in seeded_weights(SPEC, 1).items()}
    weights[HIGHWAY] = np.full((a.window * a.sensors, a.outputs), size, np.float32)
    with plant.source.flowing():
        version = plant.make_version(packed(SPEC, _next(plant), weights=weights))
        plant.await_ready(version)
        plant.await_fences(plant.activate(version))
        plant.until_predicted(_SOME)
        plant.swap()
        plant.until_predicted(_SOME)
    reasons = {refusal.reason for refusal in plant.evidence().topics.refusals}
    plant.expect("forecast_not_finite" in reasons, "no forecast overflowed: nothing was shown")
    plant.expect(plant.observer.count(PREDICTIONS) > _SOME, "nothing was predicted")


def _next(plant: Plant) -> int:
    return max(plant.registry.models[SPEC.name].versions) + 1
