"""A model version's files: packed, published under immutable keys, and fetched as untrusted.

An artefact is five objects under one prefix. The manifest names the others with their size
and SHA-256, and the shape and type of every tensor; the manifest's own SHA-256 is in
`model.events`. So a reader of the registry's event detects any altered bit. An artefact contains
no code: our code rebuilds the network from ``architecture.json``.

```
models/<model>/v<version>-<run id>/manifest.json
                                   architecture.json       description of the network
                                   normaliser.json         its units
                                   weights.safetensors     float32, finite
                                   optimizer.safetensors   so that training can continue
```

Everything is checked before it is returned: digests and sizes while fetching, then tensor
names, shapes, types and finiteness against the manifest. Sizes are checked before memory is
allocated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.events.model_event import Artefact
from millrace.contracts.normaliser import Normaliser
from millrace.infra.object_store import ObjectStore
from millrace.model_families.tensors import (
    Tensor,
    TensorEntry,
    check_entries,
    entries_of,
    pack_tensors,
    read_tensors,
)

MANIFEST: Final = "manifest.json"
ARCHITECTURE: Final = "architecture.json"
NORMALISER: Final = "normaliser.json"
WEIGHTS: Final = "weights.safetensors"
OPTIMIZER: Final = "optimizer.safetensors"

#: Most bytes of a JSON file, and of a file of tensors.
MAX_JSON_BYTES: Final = 1 << 20
MAX_TENSOR_BYTES: Final = 256 << 20

_WEIGHT_TYPES: Final = frozenset({"float32"})
_OPTIMIZER_TYPES: Final = frozenset({"float32", "int32", "int64", "uint32", "uint64"})

T = TypeVar("T")


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of an artefact.

    Attributes:
        sha256: Digest of its bytes, hexadecimal.
        bytes: Its size.
    """

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contents of an artefact.

    Attributes:
        model: The model.
        version: The version.
        run_id: The training run that made it.
        files: Every other file, by name.
        weights: The model's variables, in order.
        optimizer: The optimizer's variables, in order; None if it was not kept.
        format: Version of this layout.
    """

    model: str
    version: int
    run_id: str
    files: dict[str, File]
    weights: list[TensorEntry]
    optimizer: list[TensorEntry] | None
    format: int = 1


@dataclass(frozen=True, eq=False)
class LoadedArtefact:
    """An artefact that passed every check.

    Attributes:
        manifest: Its manifest.
        architecture: Description from which our code builds the network.
        normaliser: Its units.
        weights: The network's variables, float32, in the network's order.
        optimizer: The optimizer's variables, in its order; None if they were not kept.
    """

    manifest: Manifest
    architecture: dict[str, Any]
    normaliser: Normaliser
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor] | None


@dataclass(frozen=True)
class PackedArtefact:
    """An artefact's files, ready to be published; the same content gives the same bytes.

    Attributes:
        prefix: Object key prefix.
        files: Bytes by file name, the manifest included.
    """

    prefix: str
    files: dict[str, bytes]

    @property
    def reference(self) -> Artefact:
        """Its reference in a `registered` event."""
        return Artefact(self.prefix, sha256(self.files[MANIFEST]).hexdigest())


def pack(
    *,
    model: str,
    version: int,
    run_id: str,
    architecture: Mapping[str, Any],
    normaliser: Normaliser,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor] | None,
) -> PackedArtefact:
    """Pack a trained model.

    Args:
        model: The model.
        version: The new version's number.
        run_id: The run that made it.
        architecture: Plain JSON values that our code rebuilds the network from.
        normaliser: The version's units.
        weights: The network's variables in order, float32.
        optimizer: The optimizer's variables in order, or None.

    Raises:
        DataError: A tensor is not finite or of a type that cannot be published.
    """
    files = {
        ARCHITECTURE: msgspec.json.encode(architecture, order="sorted"),
        NORMALISER: msgspec.json.encode(normaliser),
        WEIGHTS: pack_tensors(WEIGHTS, weights, _WEIGHT_TYPES),
    }
    if optimizer is not None:
        files[OPTIMIZER] = pack_tensors(OPTIMIZER, optimizer, _OPTIMIZER_TYPES)
    manifest = Manifest(
        model,
        version,
        run_id,
        {name: File(sha256(data).hexdigest(), len(data)) for name, data in files.items()},
        entries_of(weights),
        None if optimizer is None else entries_of(optimizer),
    )
    files[MANIFEST] = msgspec.json.encode(manifest)
    return PackedArtefact(f"models/{model}/v{version}-{run_id}", files)


def publish(store: ObjectStore, packed: PackedArtefact) -> Artefact:
    """Put an artefact's files into the store, the manifest last.

    A crash leaves unreferenced files; a repeated call writes the same bytes.

    Raises:
        ServerError: The store does not answer.
    """
    for name, data in packed.files.items():
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        if name != MANIFEST:
            store.put(f"{packed.prefix}/{name}", data, kind)
    store.put(f"{packed.prefix}/{MANIFEST}", packed.files[MANIFEST], "application/json")
    return packed.reference


def fetch(store: ObjectStore, artefact: Artefact) -> LoadedArtefact:
    """Fetch an artefact and check all of it.

    Args:
        store: The object store.
        artefact: Its reference in the registry.

    Raises:
        DataError: A file or tensor is missing, altered, too large, misshapen or not finite.
        ServerError: The store does not answer.
    """
    where = artefact.prefix
    manifest = _decode(
        store.get(f"{where}/{MANIFEST}", digest=artefact.digest, limit=MAX_JSON_BYTES),
        Manifest,
        f"{where}/{MANIFEST}",
    )
    _check_manifest(manifest, where)
    files = {
        name: _fetch_file(store, f"{where}/{name}", entry) for name, entry in manifest.files.items()
    }
    architecture = _decode(files[ARCHITECTURE], dict[str, Any], f"{where}/{ARCHITECTURE}")
    normaliser = _decode(files[NORMALISER], Normaliser, f"{where}/{NORMALISER}")
    weights = read_tensors(files[WEIGHTS], manifest.weights, f"{where}/{WEIGHTS}")
    optimizer = (
        None
        if manifest.optimizer is None
        else read_tensors(files[OPTIMIZER], manifest.optimizer, f"{where}/{OPTIMIZER}")
    )
    return LoadedArtefact(manifest, architecture, normaliser, weights, optimizer)


def _decode(data: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"{where} is not what it should be: {error}") from error


def _check_manifest(manifest: Manifest, where: str) -> None:
    """Check the manifest for consistency, before any of its files is fetched."""
    if manifest.format != 1:
        raise DataError(f"{where} has format {manifest.format}; this program reads format 1")
    wanted = {ARCHITECTURE, NORMALISER, WEIGHTS}
    if manifest.optimizer is not None:
        wanted.add(OPTIMIZER)
    if set(manifest.files) != wanted:
        raise DataError(f"{where} has files {sorted(manifest.files)}, not {sorted(wanted)}")
    for name, file in manifest.files.items():
        limit = MAX_JSON_BYTES if name.endswith(".json") else MAX_TENSOR_BYTES
        if not 0 < file.bytes <= limit:
            raise DataError(f"{where}/{name} says {file.bytes} bytes; 1 to {limit} are allowed")
    check_entries(manifest.weights, _WEIGHT_TYPES, f"{where}/{WEIGHTS}")
    check_entries(manifest.optimizer or [], _OPTIMIZER_TYPES, f"{where}/{OPTIMIZER}")


def _fetch_file(store: ObjectStore, key: str, file: File) -> bytes:
    data = store.get(key, digest=file.sha256, limit=file.bytes)
    if len(data) != file.bytes:
        raise DataError(f"{key} has {len(data)} bytes, not {file.bytes}: it was altered")
    return data
