"""Artefacts are packed the same way each time, and nothing that was altered is loaded."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from millrace.contracts.errors import DataError
from millrace.contracts.events.model_event import Artefact
from millrace.contracts.normaliser import Normaliser
from millrace.infra.object_store import ObjectStore
from millrace.model_families.artefact import (
    MANIFEST,
    WEIGHTS,
    Manifest,
    PackedArtefact,
    fetch,
    pack,
    publish,
)


class MemoryStore:
    """An object store in memory that keeps the real one's promises."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, _: str = "") -> str:
        """Store."""
        self.objects[key] = data
        return sha256(data).hexdigest()

    def get(self, key: str, *, digest: str | None = None, limit: int = 1 << 30) -> bytes:
        """Fetch, checked."""
        if key not in self.objects:
            raise DataError(f"object {key} is not there")
        data = self.objects[key]
        if len(data) > limit:
            raise DataError(f"object {key} is larger than {limit} bytes")
        if digest is not None and sha256(data).hexdigest() != digest:
            raise DataError(f"object {key} was altered")
        return data


@pytest.fixture
def store() -> ObjectStore:
    """A store in memory."""
    return cast(ObjectStore, MemoryStore())


def objects(store: ObjectStore) -> dict[str, bytes]:
    """What is in it."""
    return cast(MemoryStore, store).objects


def packed(**changes: Any) -> PackedArtefact:
    """A small artefact."""
    parts: dict[str, Any] = {
        "model": "pumps",
        "version": 3,
        "run_id": "run-1",
        "architecture": {"units": 8, "kind": "x"},
        "normaliser": Normaliser((1.0,), (2.0,)),
        "weights": {
            "z/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
            "a/bias": np.zeros(3, np.float32),
        },
        "optimizer": {"iterations": np.array(7), "momentum": np.ones(2, np.float32)},
    }
    return pack(**{**parts, **changes})


def forge(
    store: ObjectStore, change: Callable[[dict[str, Any]], None], file: bytes | None = None
) -> Artefact:
    """Publish an artefact whose manifest was changed by somebody who can compute digests."""
    made = packed()
    publish(store, made)
    manifest = msgspec.json.decode(made.files[MANIFEST])
    if file is not None:
        objects(store)[f"{made.prefix}/{WEIGHTS}"] = file
        manifest["files"][WEIGHTS] = {"sha256": sha256(file).hexdigest(), "bytes": len(file)}
    change(manifest)
    data = msgspec.json.encode(manifest)
    objects(store)[f"{made.prefix}/{MANIFEST}"] = data
    return Artefact(made.prefix, sha256(data).hexdigest())


def test_what_was_packed_is_fetched(store: ObjectStore) -> None:
    """Values, order, scalars and types come back."""
    found = fetch(store, publish(store, packed()))
    assert list(found.weights) == ["z/kernel", "a/bias"]
    assert found.weights["z/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.optimizer is not None
    assert found.optimizer["iterations"].shape == ()
    assert found.optimizer["iterations"].dtype == np.int64
    assert found.architecture == {"units": 8, "kind": "x"}
    assert found.normaliser == Normaliser((1.0,), (2.0,))
    assert (found.manifest.version, found.manifest.run_id) == (3, "run-1")


def test_the_same_content_has_the_same_digest() -> None:
    """Nothing of the moment enters an artefact; every part of it does."""
    assert packed().reference == packed(architecture={"kind": "x", "units": 8}).reference
    digests = {
        packed(**change).reference.digest
        for change in (
            {},
            {"version": 4},
            {"optimizer": None},
            {"normaliser": Normaliser((1.0,), (3.0,))},
            {"weights": {"z/kernel": np.zeros((2, 3), np.float32)}},
        )
    }
    assert len(digests) == 5


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_altered_byte_is_noticed(position: int, flip: int) -> None:
    """Whichever byte of whichever file changes, nothing is loaded."""
    store = cast(ObjectStore, MemoryStore())
    reference = publish(store, packed())
    keys = sorted(objects(store))
    key = keys[position % len(keys)]
    data = bytearray(objects(store)[key])
    data[position % len(data)] ^= flip
    objects(store)[key] = bytes(data)
    with pytest.raises(DataError):
        fetch(store, reference)


def test_a_missing_file_is_noticed(store: ObjectStore) -> None:
    """The error names the object."""
    reference = publish(store, packed())
    del objects(store)[f"{reference.prefix}/{WEIGHTS}"]
    with pytest.raises(DataError, match=r"weights\.safetensors is not there"):
        fetch(store, reference)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_neither_packed_nor_loaded(
    store: ObjectStore, bad: float
) -> None:
    """A diverged training goes nowhere, and neither does a forged one."""
    values = np.array([1.0, bad], np.float32)
    with pytest.raises(DataError, match="not finite"):
        packed(weights={"w": values})

    def change(manifest: dict[str, Any]) -> None:
        manifest["weights"] = [{"name": "w", "shape": [2], "dtype": "float32"}]

    with pytest.raises(DataError, match="not finite"):
        fetch(store, forge(store, change, save({"w": values})))


def set_at(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Change one value of a manifest; the last item is the value."""

    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest
        for step in path[:-2]:
            place = place[step]
        place[path[-2]] = path[-1]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_at("weights", 0, "shape", [3, 2]), "where the manifest says"),
        (set_at("weights", 0, "dtype", "float64"), "tensor z/kernel is float64"),
        (set_at("weights", 0, "name", "other"), "not those of the manifest"),
        (set_at("weights", 1, "name", "z/kernel"), "named twice"),
        (set_at("files", WEIGHTS, "bytes", 1 << 40), "are allowed"),
        (set_at("files", WEIGHTS, "bytes", 3), "larger than 3 bytes"),
        (set_at("files", "../../escape", {"sha256": "0", "bytes": 1}), "has files"),
        (set_at("format", 2), "reads format 1"),
        (set_at("surprise", 1), "unknown field"),
    ],
)
def test_a_forged_manifest_is_refused(
    store: ObjectStore, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """Even with the right digests, shapes, types, names and sizes must agree."""
    with pytest.raises(DataError, match=says):
        fetch(store, forge(store, change))


@pytest.mark.parametrize("data", [b"no tensors", b"\xff" * 64, b"\x80\x04pickle" * 20])
def test_what_is_not_safetensors_is_refused(store: ObjectStore, data: bytes) -> None:
    """A pickle, or noise, with the right digest."""
    with pytest.raises(DataError, match="not a safetensors file"):
        fetch(store, forge(store, lambda _: None, data))


def test_deep_json_is_refused(store: ObjectStore) -> None:
    """A bomb of brackets is an error, not a crash."""
    made = packed()
    publish(store, made)
    data = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    manifest = msgspec.json.decode(made.files[MANIFEST], type=dict[str, Any])
    manifest["files"]["architecture.json"] = {
        "sha256": sha256(data).hexdigest(),
        "bytes": len(data),
    }
    objects(store)[f"{made.prefix}/architecture.json"] = data
    encoded = msgspec.json.encode(manifest)
    objects(store)[f"{made.prefix}/{MANIFEST}"] = encoded
    with pytest.raises(DataError, match=r"architecture\.json"):
        fetch(store, Artefact(made.prefix, sha256(encoded).hexdigest()))


def test_the_manifest_is_published_last(store: ObjectStore) -> None:
    """A crash in between leaves nothing that looks complete."""
    publish(store, packed())
    assert list(objects(store))[-1].endswith(MANIFEST)
    assert msgspec.json.decode(list(objects(store).values())[-1], type=Manifest).model == "pumps"


@pytest.mark.parametrize(
    "tensor",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        np.arange(48, dtype=np.float32).reshape(6, 8)[::2, 1::3],
        np.arange(6, dtype=np.float32)[::-1],
        np.broadcast_to(np.arange(4, dtype=np.float32), (3, 4)),
    ],
    ids=["transposed", "fortran", "strided", "reversed", "broadcast"],
)
def test_tensors_come_back_however_they_lie_in_memory(
    store: ObjectStore, tensor: npt.NDArray[np.float32]
) -> None:
    """A tensor that is not C-ordered is stored in its logical order, in weights and optimizer."""
    made = packed(weights={"a": tensor}, optimizer={"b": tensor})
    loaded = fetch(store, publish(store, made))
    assert loaded.optimizer is not None
    for found in (loaded.weights["a"], loaded.optimizer["b"]):
        assert found.shape == tensor.shape
        assert found.tolist() == tensor.tolist()
