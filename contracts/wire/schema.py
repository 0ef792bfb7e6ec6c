"""JSON Schemas and an AsyncAPI document, generated from the events and the topics.

``python -m millrace.contracts.wire.schema`` writes them into `FOLDER`; with ``--check`` it only
compares, and its exit code says whether they are in step. Field descriptions are those of
the docstrings.

>>> documents()["ledger_entry.json"]["properties"]["epoch"]
{'type': 'integer', 'description': 'Serving epoch.'}
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from millrace.contracts.wire.asyncapi import asyncapi
from millrace.contracts.wire.messages import MESSAGES, Document, Message, components

FOLDER: Final = Path(__file__).parent.parent / "schemas"
ASYNCAPI: Final = "asyncapi.json"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, Document]:
    """Build all documents, by file name."""
    schemas = {f"{message.name}.json": _schema(message) for message in MESSAGES}
    return {**schemas, ASYNCAPI: asyncapi()}


def _schema(message: Message) -> Document:
    """Build the JSON Schema of a message's value."""
    (body,), parts = components([message.body], "#/$defs/")
    title = body.get("$ref", "").rpartition("/")[2]
    if title in parts:
        body = parts.pop(title)
    made = {"$schema": _DIALECT, "$id": f"urn:millrace:{message.ce_type}:{message.name}", **body}
    made.setdefault("title", "".join(word.title() for word in message.name.split("_")))
    return {**made, "$defs": parts} if parts else made


def files() -> dict[str, bytes]:
    """Encode all documents as they are stored, by file name."""
    return {
        name: msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        for name, document in documents().items()
    }


def out_of_step(read: Callable[[str], bytes | None], there: set[str]) -> list[str]:
    """Find files that differ from the generated ones, are missing, or are not generated any more.

    Args:
        read: Reads a stored file, None if it does not exist.
        there: Names of the stored files.
    """
    made = files()
    changed = [name for name, data in made.items() if read(name) != data]
    return sorted({*changed, *(there - set(made))})


def main() -> int:
    """Write the documents, or compare them."""
    parser = argparse.ArgumentParser(
        prog="python -m millrace.contracts.wire.schema", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if they differ")
    check: bool = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    stored = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    differing = out_of_step(stored.get, set(stored))
    if check:
        for name in differing:
            sys.stderr.write(
                f"{FOLDER / name} is out of step: run `python -m millrace.contracts.wire.schema`\n"
            )
        return 1 if differing else 0
    made = files()
    for name in differing:
        if name in made:
            (FOLDER / name).write_bytes(made[name])
        else:
            (FOLDER / name).unlink()
        sys.stdout.write(f"{FOLDER / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
