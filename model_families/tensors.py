"""Packs files of tensors, and reads them as untrusted data against their manifest entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from millrace.contracts.errors import DataError

MAX_TENSORS: Final = 10_000

Tensor = npt.NDArray[Any]


class TensorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor of a file; the entries' order is the order of the model's variables.

    Attributes:
        name: Its name, unique in the file.
        shape: Its shape.
        dtype: Its NumPy type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


def pack_tensors(file: str, tensors: Mapping[str, Tensor], types: frozenset[str]) -> bytes:
    """Pack tensors as a safetensors file.

    Args:
        file: Its name, for messages.
        tensors: Finite numbers.
        types: Names of the types that are allowed.

    Raises:
        DataError: A tensor is not finite, or of another type.
    """
    for name, tensor in tensors.items():
        if tensor.dtype.name not in types:
            raise DataError(f"{file}: {name} is {tensor.dtype}; publish {sorted(types)}")
        if not np.isfinite(tensor).all():
            raise DataError(f"{file}: {name} is not finite; the training has diverged")
    # safetensors 0.8.0 stores an array's memory as it is, under its logical shape, and raises no
    # error: a transposed or strided tensor would be read back as a different one.
    return save({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()})


def entries_of(tensors: Mapping[str, Tensor]) -> list[TensorEntry]:
    """Describe tensors for a manifest."""
    return [TensorEntry(name, tensor.shape, tensor.dtype.name) for name, tensor in tensors.items()]


def check_entries(entries: list[TensorEntry], types: frozenset[str], where: str) -> None:
    """Check a file's entries in a manifest, before the file is fetched.

    Raises:
        DataError: There are too many tensors, or one has an invalid name, type or shape.
    """
    if len(entries) > MAX_TENSORS or len({entry.name for entry in entries}) != len(entries):
        raise DataError(f"{where}: more than {MAX_TENSORS} tensors, or one is named twice")
    for entry in entries:
        if entry.dtype not in types or any(size < 0 for size in entry.shape):
            raise DataError(f"{where}: tensor {entry.name} is {entry.dtype} {entry.shape}")


def read_tensors(data: bytes, entries: list[TensorEntry], where: str) -> dict[str, Tensor]:
    """Read a safetensors file.

    Returns:
        Tensors in the order of the manifest's entries.

    Raises:
        DataError: It is no safetensors file, its tensors are not those of the manifest, or not
            finite.
    """
    try:
        found = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is not a safetensors file: {error}") from error
    if set(found) != {entry.name for entry in entries}:
        raise DataError(f"{where}: its tensors are not those of the manifest")
    for entry in entries:
        tensor = found[entry.name]
        if tensor.shape != entry.shape or tensor.dtype.name != entry.dtype:
            raise DataError(
                f"{where}: {entry.name} is {tensor.dtype} {tensor.shape}, where the manifest"
                f" says {entry.dtype} {entry.shape}"
            )
        if not np.isfinite(tensor).all():
            raise DataError(f"{where}: {entry.name} holds values that are not finite")
    return {entry.name: found[entry.name] for entry in entries}
