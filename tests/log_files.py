"""A broker's log files, to have a partition lose its end as a broker's disk does."""

import os
import struct
from pathlib import Path

_BEGIN = struct.Struct(">qi")


def cut_log(data: Path, topic: str, partition: int, first_lost: int) -> int:
    """Cut a partition's log while its broker is down.

    The broker makes the log's indexes anew: one that points beyond the end would have it take the
    log for empty.

    Args:
        data: Folder of the broker's data.
        topic: The topic's full name.
        partition: The partition, which has a single segment.
        first_lost: An offset that is to be lost, and the whole record batch with it.

    Returns:
        The offset at which the log ends now.
    """
    folder = data / f"{topic}-{partition}"
    (log,) = folder.glob("*.log")
    for index in (*folder.glob("*.index"), *folder.glob("*.timeindex")):
        index.unlink()
    content = log.read_bytes()
    at = 0
    while at < len(content):
        base, length = _BEGIN.unpack_from(content, at)
        following = at + _BEGIN.size + length
        beyond = following >= len(content)
        if beyond or _BEGIN.unpack_from(content, following)[0] > first_lost:
            os.truncate(log, at)
            return int(base)
        at = following
    raise LookupError(f"{log} has no record {first_lost}")
