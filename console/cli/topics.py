"""`millrace topics`: the declared topics, whether they exist, and their settings."""

from __future__ import annotations

from millrace.console.operations.topics import TopicLine, create_missing, topic_lines
from millrace.console.terminal.output import answers, print_json, remark, table
from millrace.contracts.topics import TOPICS
from millrace.infra.local.address import settings_of_running_system


def list_topics(*, as_json: bool) -> None:
    """Print all declared topics.

    Raises:
        ServerError: Nothing runs.
    """
    lines = topic_lines(settings_of_running_system())
    if as_json:
        print_json(lines)
        return
    answers.print(
        table(
            f"{len(lines)} topics",
            ("topic", "partitions", "records", "kept", "key", "holds"),
            [
                (
                    line.name,
                    line.partitions if line.exists else "not there",
                    line.records,
                    line.kept
                    if line.kept == line.declared
                    else f"{line.kept} (declared: {line.declared})",
                    line.key,
                    line.holds,
                )
                for line in lines
            ],
        )
    )
    _remarks(lines)


def _remarks(lines: list[TopicLine]) -> None:
    """Print problems of the topics' settings."""
    for line in lines:
        for finding in line.findings:
            answers.print(f"{finding.severity}: {finding}", markup=False, highlight=False)


def create_all(*, as_json: bool) -> None:
    """Create the missing topics.

    Raises:
        ServerError: The system is not running, or a topic cannot be created.
    """
    created = create_missing(settings_of_running_system(), warn=remark)
    if as_json:
        print_json({"created": created})
    else:
        answers.print(f"created {len(created)} of {len(TOPICS)} topics; the others were there")
