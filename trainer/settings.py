"""Settings of the trainer and its archiver, read once from the environment.

Every setting is ``MILLRACE_TRAINER_<NAME>`` or ``MILLRACE_ARCHIVER_<NAME>``; addresses and the
like are in `infra.settings`.
"""

from typing import Final, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from millrace.contracts.errors import SettingsError
from millrace.trainer.scheduling.journal import KEPT

#: Who the trainer's events are from.
SOURCE: Final = "/millrace/trainer"


class _Frozen(BaseSettings):
    """Frozen settings whose errors name the environment variable."""

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: A value is not usable; says which and why.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = str(cls.model_config.get("env_prefix")) + "_".join(map(str, first["loc"]))
            raise SettingsError(
                f"{name.upper()}: {first['msg']}; got {first['input']!r}"
            ) from error


class TrainerSettings(_Frozen):
    """When to train, and with what at most.

    Counts are of outcomes, that is of windows whose truth is known. Times are event time.

    Attributes:
        first_outcomes: Outcomes after which a model that was never trained is; 0 leaves the
            first training to requests.
        drift_outcomes: Outcomes of the drifted asset after the alarm that a run needs, so
            that it learns from what is new.
        cooldown_outcomes: Outcomes of the model since the last run's data before another
            run that nobody asked for.
        new_outcomes: Outcomes since the last run's data that are a reason to train; 0 never.
        max_age_days: Age of the last run's data that is a reason to train; 0 never.
        retry_growth: After a run because of drift was rejected or failed, try again once there are
            this many times its outcomes after the alarm; 0 never.
        max_windows: Most windows that a run learns from, the most recent ones.
        archive_seconds: How long a run waits for the archive before it fails.
        fit_seconds: How long a fit may take before it is ended and the run fails.
        nice: How much the fit yields to serving (see nice(2)).
        stall_seconds: How long its loops may stand before the process ends, to be started again;
            broker and store answer, or refuse, sooner.
    """

    model_config = SettingsConfigDict(env_prefix="MILLRACE_TRAINER_", frozen=True, extra="ignore")

    first_outcomes: int = Field(default=500, ge=0, le=KEPT)
    drift_outcomes: int = Field(default=64, ge=1, le=KEPT)
    cooldown_outcomes: int = Field(default=100, ge=0, le=KEPT)
    new_outcomes: int = Field(default=0, ge=0, le=KEPT)
    max_age_days: float = Field(default=30.0, ge=0)
    retry_growth: float = Field(default=2.0, ge=0)
    max_windows: int = Field(default=30_000, ge=1)
    archive_seconds: float = Field(default=60.0, gt=0)
    fit_seconds: float = Field(default=900.0, gt=0)
    nice: int = Field(default=10, ge=0, le=19)
    stall_seconds: float = Field(default=180.0, gt=0)


class ArchiverSettings(_Frozen):
    """How the archiver cuts topics into objects.

    Attributes:
        max_records: Most records of an object.
        max_bytes: Most bytes of an object, uncompressed.
        max_seconds: How long a record waits for its object.
        awaited_seconds: The same, while a run waits for the archive; the time that a fetch may
            take (`archiver`) comes before it.
        stall_seconds: How much longer than ``max_seconds`` a record may wait before the process
            ends, to be started again.
        merge_objects: Objects that are merged into one, and again so many of those.
        merge_bytes: Largest object that merging makes.
        merge_seconds: How often it is looked what there is to merge.
        retired_seconds: How long objects that were merged are kept for readers that know them;
            longer than a run takes to read its data.
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
