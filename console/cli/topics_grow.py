"""`millrace topics grow N`: more partitions for all topics keyed by asset.

The plan is printed before any change. An interrupted command can be repeated: topics that already
have the partitions are not changed.
"""

from __future__ import annotations

from millrace.console.operations.topics import plan_growth
from millrace.console.terminal.output import answers, print_json, table
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.topics.partitions import Step


def grow_topics(partitions: int, *, dry_run: bool, as_json: bool) -> None:
    """Increase all topics keyed by asset to a number of partitions.

    Args:
        partitions: Number of partitions of each.
        dry_run: Print the plan only.
        as_json: Print JSON.

    Raises:
        ServerError: The system is not running, a topic is missing, or Kafka refuses.
        SettingsError: A topic has more already.
    """
    growth = plan_growth(settings_of_running_system(), partitions)
    if not as_json:
        _show(partitions, growth.topics)
    if not dry_run:
        growth.carry_out()
    if as_json:
        print_json({"partitions": partitions, "topics": growth.topics, "done": not dry_run})
    elif growth.topics and not dry_run:
        answers.print(
            "done; the stream processor, inference and the archiver start anew by themselves in"
            " some seconds"
        )


def _show(partitions: int, steps: list[Step]) -> None:
    if not steps:
        answers.print(f"all topics keyed by asset have {partitions} partitions")
        return
    answers.print(
        table(
            "in this order; an asset may move to another partition, where its memory begins anew",
            ("topic", "partitions", "then"),
            [(step.topic, step.before, step.after) for step in steps],
        )
    )
