"""`millrace predictions tail`: forecasts as they are written."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Message

from millrace.console.operations.topic_tail import follow_records, last_records
from millrace.console.terminal.output import answers, print_json_line
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.topics import PREDICTIONS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.local.address import settings_of_running_system

_HEADER = f"{'predicted at':<12}  {'asset':<14} {'model':<12} {'interval from':<16}  forecast"


def tail(asset: str | None, count: int, *, follow: bool, as_json: bool) -> None:
    """Print the last predictions, and then each new one.

    Args:
        asset: Only predictions of this asset.
        count: Number of existing predictions.
        follow: Whether to print new ones as well, until interrupted.
        as_json: Print one JSON document per line.

    Raises:
        ServerError: The system is not running.
    """
    settings = settings_of_running_system()
    key = asset.encode() if asset is not None else None

    def wanted(message: Message) -> bool:
        return key is None or message.key() == key

    found, ends = last_records(settings, PREDICTIONS, count, wanted=wanted)
    if not as_json:
        answers.print(_HEADER, style="bold", highlight=False)
    _print(iter(found), as_json=as_json)
    if follow:
        new = (m for m in follow_records(settings, PREDICTIONS, ends) if wanted(m))
        _print(new, as_json=as_json)


def _print(messages: Iterator[Message], *, as_json: bool) -> None:
    read = EventReader[Prediction](Prediction)
    for message in messages:
        prediction = read.valid(message.value())
        if prediction is None:
            continue
        if as_json:
            print_json_line(prediction)
        else:
            answers.print(line(prediction), highlight=False, soft_wrap=True)


def line(prediction: Prediction) -> str:
    """A prediction in one line; of a sequence, its first step."""
    first = prediction.forecast[0] if prediction.forecast else []
    values = " ".join(
        f"{name}={'absent' if value is None else f'{value:.5g}'}"
        for name, value in zip(prediction.targets, first, strict=True)
    )
    more = f" … {len(prediction.forecast)} steps" if len(prediction.forecast) > 1 else ""
    return (
        f"{prediction.predicted_at:%H:%M:%S.%f}"[:12]
        + f"  {prediction.asset:<14} {f'{prediction.model} v{prediction.version}':<12}"
        + f" {prediction.interval_start:%Y-%m-%d %H:%M}  {values}{more}"
    )
