"""Settings of the archiver, read once from the environment: ``MILLRACE_ARCHIVER_<NAME>``."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from millrace.infra.settings import FromEnvironment


class ArchiverSettings(FromEnvironment):
    """How the archiver cuts topics into objects.

    Attributes:
        max_records: Most records of an object.
        max_bytes: Most bytes of an object, uncompressed.
        max_seconds: How long a record is buffered before its object is written.
        awaited_seconds: The same, while a training run is waiting for the archive; the time of a
            fetch (`archiver`) comes in addition.
        stall_seconds: How much longer than ``max_seconds`` a record may be buffered before the
            process ends, to be restarted.
        merge_objects: Objects that are merged into one, and again so many of those.
        merge_bytes: Largest object that merging makes.
        merge_seconds: Interval between two searches for objects to merge.
        retired_seconds: How long merged objects are kept for readers that have listed them; longer
            than a run takes to read its data.
        retention_days: How many days readings and results (`REMOVABLE`) are kept, by the dates of
            the objects; 0 keeps everything forever.
    """

    model_config = SettingsConfigDict(env_prefix="MILLRACE_ARCHIVER_", frozen=True, extra="ignore")

    max_records: int = Field(default=5_000, ge=1)
    max_bytes: int = Field(default=4 << 20, ge=1)
    max_seconds: float = Field(default=15.0, gt=0)
    awaited_seconds: float = Field(default=0.2, gt=0)
    stall_seconds: float = Field(default=45.0, gt=0)
    merge_objects: int = Field(default=32, ge=2)
    merge_bytes: int = Field(default=32 << 20, ge=1)
    merge_seconds: float = Field(default=60.0, gt=0)
    retired_seconds: float = Field(default=900.0, gt=0)
    retention_days: int = Field(default=0, ge=0)
