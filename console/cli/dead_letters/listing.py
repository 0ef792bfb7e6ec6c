"""`millrace dead-letters list`: refused records, their reasons and states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from millrace.console.operations.dead_letters.letter import (
    Choice,
    Letter,
    ReasonCount,
    Reference,
    State,
    counts,
)
from millrace.console.operations.dead_letters.listing import choose_letters, line_of
from millrace.console.operations.moments import parse_moment
from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.clock import now
from millrace.contracts.events.dead_letter import Origin
from millrace.contracts.wire.visible import visible as escaped
from millrace.infra.local.address import settings_of_running_system

_DETAIL: Final = 60


def list_letters(
    reason: str | None, asset: str | None, since: str | None, limit: int, *, as_json: bool
) -> None:
    """Print the last letters, and their number by reason.

    Args:
        reason: Only letters with this reason.
        asset: Only letters of this asset.
        since: Only letters since this time; see `parse_moment`.
        limit: Number of letters to show; 0 for all.
        as_json: Print an object with ``letters`` and ``counts``.

    Raises:
        ServerError: The system is not running.
        SettingsError: ``since`` is no valid time.
    """
    choice = Choice(reason, asset, parse_moment("--since", since, now()))
    found, known = choose_letters(settings_of_running_system(), choice)
    shown = found[-limit:] if limit else found
    summary = counts(found, known)
    if as_json:
        lines = [line_of(letter, known[letter.place]) for letter in shown]
        print_json({"found": len(found), "counts": summary, "letters": lines})
        return
    _print_letters(shown, known, len(found))
    _print_counts(summary)


def visible(text: str, most: int | None = None) -> str:
    """Untrusted text, escaped before it is truncated to ``most`` characters."""
    shown = escaped(text)
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    return shown


def place_text(place: Origin) -> str:
    """A record's place for display."""
    return visible(f"{place.topic} {place.partition}:{place.offset}") if place.topic else "?"


def _print_letters(shown: Sequence[Letter], known: Mapping[Reference, State], found: int) -> None:
    columns = ("ref", "refused at", "reason", "asset", "state", "came from", "detail")
    rows: list[tuple[Any, ...]] = [
        (
            str(letter.place),
            letter.time,
            visible(letter.reason, 40),
            visible(letter.asset, 40),
            known[letter.place].value,
            place_text(letter.source),
            visible(letter.detail, _DETAIL),
        )
        for letter in shown
    ]
    answers.print(table(f"{len(shown)} of {found} dead letters", columns, rows))


def _print_counts(summary: Sequence[ReasonCount]) -> None:
    if summary:
        answers.print(
            table(
                "by reason",
                ("reason", "letters", "retried", "of these mended", "final"),
                [(visible(c.reason), c.letters, c.retried, c.mended, c.final) for c in summary],
            )
        )
