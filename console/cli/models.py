"""`millrace models`: shows the registry, declares models, requests trainings."""

from __future__ import annotations

from datetime import datetime

from millrace.console.operations.models import (
    read_registry,
    refused_lines,
    request_training,
    version_lines,
)
from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.clock import now
from millrace.infra.local.address import settings_of_running_system


def list_models(*, as_json: bool) -> None:
    """Print all versions, and then the refused events.

    Raises:
        ServerError: Nothing runs.
    """
    registry = read_registry(settings_of_running_system())
    versions, refused = version_lines(registry), refused_lines(registry)
    lines = versions + refused
    if as_json:
        print_json(lines)
        return
    answers.print(
        table(
            f"{len(registry.models)} models, {len(versions)} versions"
            + (f", {len(refused)} events refused" if refused else ""),
            ("model", "version", "state", "epochs", "serves since", "trained on", "detail"),
            [
                (
                    line.model,
                    line.version,
                    line.state,
                    ", ".join(str(epoch) for epoch in line.epochs),
                    line.since,
                    _stretch(line.trained_from, line.trained_until),
                    line.detail,
                )
                for line in lines
            ],
        )
    )


def declare(where: str, *, as_json: bool) -> None:
    """Declare the model of a dataset.

    Raises:
        DataError: The dataset cannot be read, or another model has its name or sensors.
        ServerError: Nothing runs.
    """
    from millrace.console.operations.datasets import declare_dataset  # noqa: PLC0415  (pandas is slow to import)

    spec, new = declare_dataset(settings_of_running_system(), where)
    if as_json:
        print_json({"model": spec.name, "declared": new, "spec": spec})
    else:
        said = "declared; persistence serves as version 0" if new else "is declared already"
        answers.print(f"model {spec.name}: {said}")


def train_model(name: str, *, as_json: bool) -> None:
    """Request a training.

    Raises:
        DataError: There is no such model.
        ServerError: Nothing runs.
    """
    settings = settings_of_running_system()
    request = request_training(settings, name, now(), "asked for with `millrace models train`")
    if as_json:
        print_json(request)
    else:
        answers.print(f"model {name}: training requested ({request.id})")


def _stretch(start: datetime | None, end: datetime | None) -> str:
    return f"{start:%Y-%m-%d} to {end:%Y-%m-%d}" if start and end else ""
