"""`millrace topics grow N`: more partitions for all topics keyed by asset.

The plan is printed before anything is done. A command that was broken off is given again: topics
that have their partitions are left alone.
"""

from __future__ import annotations

import msgspec

from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.errors import ServerError
from millrace.contracts.topics import TOPICS
from millrace.infra.kafka.clients import admin
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.topics.partitions import GROWN_IN, Step, grow, partition_counts, plan


class Growth(msgspec.Struct, frozen=True):
    """What was done, or would be.

    Attributes:
        partitions: How many each topic keyed by asset is to have.
        topics: Topics that get more, in the order in which they do.
        done: Whether it was done; else it is a plan.
    """

    partitions: int
    topics: list[Step]
    done: bool


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
    settings = settings_of_running_system()
    client = admin(settings)
    counts = partition_counts(client, settings)
    missing = [settings.named(t.name) for t in GROWN_IN if settings.named(t.name) not in counts]
    if missing:
        raise ServerError(
            f"{len(missing)} of {len(TOPICS)} topics are not there ({', '.join(missing)});"
            " run `millrace topics create` first"
        )
    steps = plan(counts, partitions)
    if not as_json:
        _show(partitions, steps)
    if not dry_run:
        for step in steps:
            grow(client, step)
    if as_json:
        print_json(Growth(partitions, steps, not dry_run))
    elif steps and not dry_run:
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
