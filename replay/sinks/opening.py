"""Opens the destination that a user names: a file, a prefix of the object store, or a topic."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from millrace.contracts.errors import SettingsError
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.replay.sinks.merged import MergedFile
from millrace.replay.sinks.parts import Objects, Parts
from millrace.replay.sinks.sink import Sink
from millrace.replay.sinks.topic import TopicSink

_SCHEME = "s3://"


def absolute(destination: str) -> str:
    """Make a destination independent of the working folder.

    >>> absolute("predictions.backfill"), absolute("s3://lake/backfill/")
    ('predictions.backfill', 's3://lake/backfill/')

    Raises:
        SettingsError: It is none.
    """
    if destination.startswith(_SCHEME):
        bucket, path = _address(destination)
        if not bucket or not path:
            raise SettingsError(
                f"{destination} must name a bucket and a prefix: s3://bucket/prefix"
            )
        return destination
    if destination.endswith(".parquet"):
        path = str(Path(destination).absolute())
        if not Path(path).parent.is_dir():
            raise SettingsError(f"there is no folder {Path(path).parent} for {destination}")
        return path
    if "/" in destination:
        raise SettingsError(
            f"{destination} is neither a topic, nor a file FILE.parquet, nor s3://bucket/prefix"
        )
    return destination


def open_sink(settings: Settings, destination: str, replay: str) -> Sink:
    """Open a destination.

    Args:
        settings: Where Kafka and the object store are.
        destination: From `absolute`.
        replay: Id of the replay.

    Raises:
        DataError: Something else is there.
        ServerError: It does not answer.
        SettingsError: It is none.
    """
    if destination.startswith(_SCHEME):
        bucket, path = _address(destination)
        return Parts(Objects(ObjectStore(settings, bucket), path), replay)
    if destination.endswith(".parquet"):
        return MergedFile(Path(destination), replay)
    return TopicSink(settings, destination, replay)


def _address(destination: str) -> tuple[str, str]:
    parts = urlsplit(destination)
    return parts.netloc, parts.path.strip("/")
