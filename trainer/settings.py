"""Settings of the trainer, read once from the environment: ``MILLRACE_TRAINER_<NAME>``.

Addresses and credentials are in `infra.settings`.
"""

from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from millrace.infra.settings import FromEnvironment

#: CloudEvents source of the trainer's events.
SOURCE: Final = "/millrace/trainer"
#: Least number of outcomes kept per asset, and so the largest count that a setting may require.
KEPT: Final = 100_000


class TrainerSettings(FromEnvironment):
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
