"""`millrace archive`: what the archive holds, and whether all of it is there and unaltered."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from millrace.console.operations.archive import Verified, archive_lines, verify_archive
from millrace.console.terminal.output import answers, print_json, remarks, table
from millrace.contracts.errors import SettingsError
from millrace.contracts.topics import TOPICS
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.exit_status import FAILED


def list_archive(topic: str | None, *, as_json: bool) -> None:
    """Print the archive's partitions.

    Raises:
        DataError: An object cannot be read.
        ServerError: Nothing runs, or the store does not answer.
        SettingsError: There is no such topic.
    """
    _check(topic)
    lines = archive_lines(ObjectStore(settings_of_running_system(must_answer=False)), topic)
    if as_json:
        print_json(lines)
        return
    answers.print(
        table(
            f"{len(lines)} partitions, {sum(line.bytes for line in lines):,} bytes",
            ("topic", "partition", "objects", "bytes", "first", "until", "oldest", "newest"),
            [
                (
                    line.topic,
                    line.partition,
                    line.objects,
                    line.bytes,
                    line.first,
                    line.until,
                    line.oldest,
                    line.newest,
                )
                for line in lines
            ],
        )
    )


def verify(topic: str | None, *, alone: bool, as_json: bool) -> None:
    """Verify the archive, and print what is wrong; ends with status 1 if anything is.

    Args:
        topic: Verify this topic only.
        alone: Whether to compare nothing with the broker.
        as_json: Whether to print JSON.

    Raises:
        ServerError: Nothing runs, or the store or the broker does not answer.
        SettingsError: There is no such topic.
        typer.Exit: Something is wrong.
    """
    _check(topic)
    settings = settings_of_running_system(must_answer=not alone)
    with remarks.status("reading the archive") as status:
        found = list(
            verify_archive(
                ObjectStore(settings),
                None if alone else settings,
                topic,
                progress=lambda place: status.update(f"reading {place}"),
            )
        )
    if as_json:
        print_json(found)
    else:
        _print(found)
    if any(each.problems for each in found):
        raise typer.Exit(FAILED)


def _print(found: Iterable[Verified]) -> None:
    verified = list(found)
    problems = sum(len(each.problems) for each in verified)
    answers.print(
        table(
            f"{sum(each.records for each in verified):,} records read, {problems} problems",
            ("topic", "partition", "objects", "records", "problems", "known gaps"),
            [
                (
                    each.topic,
                    each.partition,
                    each.objects,
                    each.records,
                    len(each.problems),
                    len(each.gaps),
                )
                for each in verified
            ],
        )
    )
    for each in verified:
        for problem in each.problems:
            where = f"{each.topic}/{each.partition}, positions {problem.first} to"
            answers.print(
                f"{problem.kind}: {where} {problem.until - 1}: {problem.detail}",
                markup=False,
                highlight=False,
            )


def _check(topic: str | None) -> None:
    """Refuse a topic that is not declared.

    Raises:
        SettingsError: It is not; names those that are.
    """
    known = [each.name for each in TOPICS]
    if topic is not None and topic not in known:
        raise SettingsError(f"there is no topic {topic!r}; choose one of {', '.join(known)}")
