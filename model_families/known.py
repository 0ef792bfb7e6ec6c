"""The available families. A new one is a folder, or a file, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace.contracts.errors import DataError
from millrace.model_families.family import ModelFamily
from millrace.model_families.lstm_highway.family import LstmHighway

#: By kind.
FAMILIES: Final[dict[str, ModelFamily[Any]]] = {family.kind: family for family in (LstmHighway(),)}


def family_named(kind: str) -> ModelFamily[Any]:
    """Find a family by the recipe of a model.

    Raises:
        DataError: There is no family of that name.
    """
    family = FAMILIES.get(kind)
    if family is None:
        raise DataError(
            f"this program has no model family {kind!r}; it has {', '.join(sorted(FAMILIES))}"
        )
    return family


def family_of(architecture: Mapping[str, Any]) -> ModelFamily[Any]:
    """Find the family of an artefact's architecture.

    Raises:
        DataError: It names no available family.
    """
    return family_named(str(architecture.get("kind")))
