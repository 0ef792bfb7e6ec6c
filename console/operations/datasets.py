"""Declares the model of a dataset; imports pandas, so commands import this module late."""

from __future__ import annotations

from millrace.console.operations.models import SOURCE
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.declare import declare_model
from millrace.infra.settings import Settings
from millrace.producers.sources.opening import open_recording


def declare_dataset(settings: Settings, where: str) -> tuple[ModelSpec, bool]:
    """Declare the model of a dataset.

    Args:
        settings: Address of Kafka.
        where: The dataset, see `producers.sources.opening`.

    Returns:
        The model, and whether it is new.

    Raises:
        DataError: The dataset cannot be read, or another model has its name or sensors.
        ServerError: No broker answers.
    """
    spec = open_recording(where, settings).spec
    return spec, declare_model(settings, spec, SOURCE)
