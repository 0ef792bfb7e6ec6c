"""The port of recordings: a table of readings and the story in it."""

from datetime import datetime
from typing import Final, Protocol

import msgspec
import pandas as pd

from millrace.contracts.model_spec import ModelSpec

#: Columns of a frame that are not sensors.
TIME: Final = "time"
ASSET: Final = "asset"
SEGMENT: Final = "segment"


class Story(msgspec.Struct, frozen=True):
    """The stretch of a recording that a demonstration replays.

    Attributes:
        assets: The assets in it.
        train_from: Event time where the first training stretch begins (UTC).
        train_until: Where it ends and the replay begins.
        replay_until: Where the replay ends.
    """

    assets: tuple[str, ...]
    train_from: datetime
    train_until: datetime
    replay_until: datetime


class Recording(Protocol):
    """Recorded or reproducible readings of some assets."""

    @property
    def spec(self) -> ModelSpec:
        """Model spec for these readings."""
        ...

    @property
    def title(self) -> str:
        """One line for people."""
        ...

    @property
    def story(self) -> Story:
        """The stretch to replay."""
        ...

    def frame(self) -> pd.DataFrame:
        """Return the readings of the story, [train_from, replay_until).

        Returns:
            Columns ``time`` (datetime64[ms, UTC]), ``asset`` and ``segment`` (str; empty if
            there are none), and one float32 column per sensor of the spec in its order,
            physical units, NaN where missing. Sorted by time, then asset; no time stands
            twice in a segment of an asset.

        Raises:
            DataError: The recording does not match its description.
            ServerError: The object store does not answer.
        """
        ...
