"""Opens a recording by a path, an ``s3://`` address, or the name ``fleet``."""

from typing import Final

from millrace.infra.settings import Settings
from millrace.producers.sources.dataset import open_dataset
from millrace.producers.sources.recording import Recording, Story
from millrace.producers.sources.simulate import Fleet

__all__ = ["FLEET", "Recording", "Story", "open_recording"]

#: The word that names the simulated fleet.
FLEET: Final = "fleet"


def open_recording(where: str, settings: Settings) -> Recording:
    """Open a recording.

    Args:
        where: Path or ``s3://bucket/key`` of a ``dataset.toml`` (or of the folder that it
            is in), or the word ``fleet`` for the simulated fleet.
        settings: Where the object store is.

    Raises:
        DataError: There is no such description, or it is not valid.
        ServerError: The object store does not answer.
    """
    return Fleet() if where == FLEET else open_dataset(where, settings)
