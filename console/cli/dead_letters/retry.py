"""`millrace dead-letters retry`: resends refused records to their partitions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millrace.console.cli.dead_letters.listing import place_text, visible
from millrace.console.operations.dead_letters.letter import Choice, parse_reference
from millrace.console.operations.dead_letters.resend import Mend
from millrace.console.operations.dead_letters.retry import Retry, retry
from millrace.console.operations.moments import parse_moment
from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.clock import now
from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.events.dead_letter import Origin
from millrace.infra.local.address import settings_of_running_system

#: Stands for standard input in place of a file.
STDIN: Final = "-"
#: Most lines of a displayed table; further ones are counted.
_MOST_LINES: Final = 50


def retry_letters(
    refs: Sequence[str],
    *,
    every: bool,
    reason: str | None,
    asset: str | None,
    since: str | None,
    value: str | None,
    key: str | None,
    content_type: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Retry records, and wait for the broker's confirmation.

    Args:
        refs: Letters by their references.
        every: All letters.
        reason: Letters with this reason.
        asset: Letters of this asset.
        since: Letters since this time.
        value: File with a replacement value for the single named letter; `STDIN` for standard
            input.
        key: Replacement key for it.
        content_type: Replacement media type for it.
        dry_run: Only print the plan.
        as_json: Print one JSON object.

    Raises:
        DataError: There is no such letter, it cannot be retried, or its whole value is not
            available any more.
        ServerError: The system is not running, or Kafka does not confirm.
        SettingsError: The options choose no letters, or contradict each other.
    """
    places = {parse_reference(ref) for ref in refs}
    by_choice = every or any(part is not None for part in (reason, asset, since))
    if bool(places) == by_choice:
        raise SettingsError(
            "say which dead letters: by name (partition:offset), or by --reason, --asset or"
            " --since, or --all"
        )
    choice = Choice(reason, asset, parse_moment("--since", since, now())) if by_choice else None
    changes = any(part is not None for part in (value, key, content_type))
    if changes and len(places) != 1:
        raise SettingsError("--value, --key and --content-type mend one letter: name it")
    mend = Mend(read_value(value), key, content_type)
    done = retry(settings_of_running_system(), places, choice, mend, dry_run=dry_run)
    _print(done, as_json=as_json)


def read_value(where: str | None) -> bytes | None:
    """Read a replacement value from a file or from standard input.

    Raises:
        DataError: The file cannot be read.
    """
    if where is None:
        return None
    try:
        return sys.stdin.buffer.read() if where == STDIN else Path(where).read_bytes()
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}") from error


def _print(done: Retry, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    said = "would be sent again" if done.dry_run else "sent again, and confirmed by Kafka"
    columns = ("ref", "reason", "asset", "refused first as", "bytes", "mended", "now", "remark")
    rows = [
        (
            line.ref,
            visible(line.reason, 40),
            visible(line.asset, 40),
            place_text(Origin(line.topic, line.partition, line.first_offset)),
            line.bytes,
            line.mended,
            None if line.offset is None else f"{line.partition}:{line.offset}",
            line.remark,
        )
        for line in done.sent[:_MOST_LINES]
    ]
    answers.print(table(f"{len(done.sent)} {said}", columns, rows))
    if len(done.sent) > _MOST_LINES:
        answers.print(f"… and {len(done.sent) - _MOST_LINES} more (--json shows all)")
    for why, count in sorted(done.passed_over.items()):
        answers.print(f"{count} passed over: {visible(why)}", highlight=False)
