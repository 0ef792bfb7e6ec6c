"""`millrace topics grow N`: more partitions for all topics keyed by asset.

The plan is printed before anything is done. A command that was broken off is given again: topics
that have their partitions are left alone.
"""

from __future__ import annotations

from millrace.console.operations.topics import plan_growth
from millrace.console.terminal.output import answers, print_json, table
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.topics.partitions import Step


def grow_topics(partitions: int, *, dry_run: bool, as_json: bool) -> None:
    """Give all topics keyed by asset as many partitions.

    Args:
        partitions: How many.
        dry_run: Print the plan only.
        as_json: Answer in JSON.

    Raises:
        ServerError: Nothing runs, a topic is not there, or Kafka refuses.
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
