"""`millrace score`: predictions for all windows of a recording, as a file."""

from __future__ import annotations

from millrace.console.cli.replay import print_results
from millrace.console.operations.score import score_dataset
from millrace.console.terminal.done import Done
from millrace.console.terminal.output import answers, print_json
from millrace.infra.local.address import settings_of_running_system


def score(dataset: str, model: str, destination: str, *, as_json: bool) -> None:
    """Score a recording, and print what came of it.

    Raises:
        DataError, ServerError, SettingsError: See `score_dataset`.
    """
    settings = settings_of_running_system()
    with Done() as told:
        done = score_dataset(settings, dataset, model, destination, told)
    if as_json:
        print_json(done)
        return
    tally = done.tally
    answers.print(
        f"{done.id}: {tally.predicted:,} of {tally.records:,} windows predicted by {done.model} in"
        f" {done.seconds:.1f} s; {tally.repeated:,} repeat an earlier window,"
        f" {sum(tally.refused.values()):,} refused",
        highlight=False,
        soft_wrap=True,
    )
    print_results(tally, done.where)
