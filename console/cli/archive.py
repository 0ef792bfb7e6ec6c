"""`millrace archive`: what the archive holds, whether all of it is there, and its export."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from millrace.console.operations.archive.export import Exported, archived_topic, export_topic
from millrace.console.operations.archive.export_file import format_of
from millrace.console.operations.archive.listing import archive_lines
from millrace.console.operations.archive.reading import TimeSpan
from millrace.console.operations.archive.verify import Verified, verify_archive
from millrace.console.operations.moments import parse_moment
from millrace.console.terminal.output import answers, print_json, remarks, table
from millrace.contracts.clock import now
from millrace.contracts.errors import SettingsError
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.exit_status import FAILED


def list_archive(topic: str | None, *, as_json: bool) -> None:
    """Print the archive's partitions.

    Raises:
        DataError: An object cannot be read.
        ServerError: Nothing runs, or the store does not answer.
        SettingsError: The topic is not archived.
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
        SettingsError: The topic is not archived.
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


def export(
    topic: str,
    file: Path,
    *,
    since: str | None,
    until: str | None,
    partition: int | None,
    as_json: bool,
) -> None:
    """Write a topic's records into a file, and print what was written.

    Args:
        topic: The topic.
        file: The file; its name's end chooses the format.
        since: First Kafka timestamp, see `parse_moment`.
        until: The moment after the last Kafka timestamp.
        partition: Export this partition only.
        as_json: Whether to print JSON.

    Raises:
        DataError: Nothing of it is archived, or an object is missing or cannot be read.
        ServerError: Nothing runs, or the store does not answer.
        SettingsError: The topic is not archived, there is no such partition, a time is none, or the
            file cannot be written.
    """
    chosen = archived_topic(topic)
    format_of(file)
    at = now()
    span = TimeSpan(parse_moment("--from", since, at), parse_moment("--until", until, at))
    if span.since is not None and span.until is not None and span.since >= span.until:
        raise SettingsError(f"--from {since} is not before --until {until}")
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"{file}: there is no folder {file.absolute().parent}")
    store = ObjectStore(settings_of_running_system(must_answer=False))
    with remarks.status(f"exporting {topic}") as status:
        done = export_topic(
            store,
            chosen,
            file,
            span,
            partition,
            progress=lambda what: status.update(f"exporting {topic}, {what}"),
        )
    if as_json:
        print_json(done)
    else:
        _print_export(done)


def _print_export(done: Exported) -> None:
    answers.print(
        f"{done.rows:,} records of {done.topic} in {done.file}, {done.bytes:,} bytes",
        soft_wrap=True,
    )
    if done.undecoded:
        remarks.print(
            f"{done.undecoded:,} records cannot be decoded: their rows have the reason in"
            " record_problem, and the original bytes in record_value",
            soft_wrap=True,
        )
    for gap in done.missing:
        remarks.print(
            f"the archive lacks positions {gap.first} to {gap.until - 1} of partition"
            f" {gap.partition}: {gap.why}",
            soft_wrap=True,
        )


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
    """Refuse a topic that is not archived.

    Raises:
        SettingsError: It is not; names those that are.
    """
    if topic is not None:
        archived_topic(topic)
