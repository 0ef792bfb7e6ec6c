"""Columns of a kind of event, derived from its struct. Pure.

A struct within a struct becomes columns with its field's name as a prefix; lists stay lists, and
documents of any content become JSON. A union of kinds has the columns of all of them.

>>> from millrace.contracts.events.ledger import LedgerEntry
>>> [column.name for column in event_columns(LedgerEntry)]
['model', 'partition', 'epoch', 'version', 'first_offset', 'stamped_at', 'v']
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
from msgspec import inspect

#: Events have times of a microsecond at most.
MOMENT: Final = pa.timestamp("us", tz="UTC")
_SCALARS: Final = {
    inspect.BoolType: pa.bool_(),
    inspect.BytesType: pa.binary(),
    inspect.DateTimeType: MOMENT,
    inspect.FloatType: pa.float64(),
    inspect.IntType: pa.int64(),
    inspect.LiteralType: pa.string(),
    inspect.StrType: pa.string(),
}


class EventColumn(NamedTuple):
    """A column.

    Attributes:
        name: Its name.
        path: Attributes that lead from the event to the value; none for the event's tag.
        kind: Its type; None for a document, which becomes JSON.
    """

    name: str
    path: tuple[str, ...]
    kind: pa.DataType | None

    @property
    def field(self) -> pa.Field:
        """The column in an Arrow schema."""
        return pa.field(self.name, self.kind or pa.string())

    def value(self, event: msgspec.Struct) -> Any:
        """Value of an event; None if the event, or a struct in it, has no such attribute."""
        if not self.path:
            return event.__struct_config__.tag
        found: Any = event
        for name in self.path:
            found = getattr(found, name, None)
        if self.kind is None and found is not None:
            return msgspec.json.encode(found).decode()
        return found


def event_columns(kind: Any) -> list[EventColumn]:
    """Derive the columns of a struct, or of a union of structs.

    Args:
        kind: Such a type, see `contracts.wire.messages.Message.body`.
    """
    described = inspect.type_info(kind)
    structs = described.types if isinstance(described, inspect.UnionType) else (described,)
    found: dict[str, EventColumn] = {}
    for struct in structs:
        if isinstance(struct, inspect.StructType):
            if struct.tag_field is not None:
                found[struct.tag_field] = EventColumn(struct.tag_field, (), pa.string())
            found |= {column.name: column for column in _columns(struct, ())}
    return list(found.values())


def _columns(struct: inspect.StructType, above: Sequence[str]) -> Iterator[EventColumn]:
    for field in struct.fields:
        path = (*above, field.name)
        inner = _plain(field.type)
        if isinstance(inner, inspect.StructType):
            yield from _columns(inner, path)
        else:
            yield EventColumn("_".join(path), path, _arrow(inner))


def _plain(described: inspect.Type) -> inspect.Type:
    """A type without its annotations, and without None."""
    if isinstance(described, inspect.Metadata):
        return _plain(described.type)
    if isinstance(described, inspect.UnionType):
        others = [one for one in described.types if not isinstance(one, inspect.NoneType)]
        if len(others) == 1:
            return _plain(others[0])
    return described


def _arrow(described: inspect.Type) -> pa.DataType | None:
    """The Arrow type of a type; None for documents."""
    if isinstance(described, inspect.ListType | inspect.VarTupleType):
        item = _arrow(_plain(described.item_type))
        return None if item is None else pa.list_(item)
    return _SCALARS.get(type(described))
