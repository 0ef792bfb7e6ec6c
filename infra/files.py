"""Files that other processes read: replaced in one step, and locks that end with their holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file in one step: a reader sees all of it or the one before.

    Only its owner can read it.

    Raises:
        OSError: It cannot be written; the file before is untouched.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    draft.replace(path)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Name a file that becomes another one in one step, when the block ends without an error.

    Raises:
        OSError: It cannot be written; the file before is untouched, and the draft is removed.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def try_lock(path: Path) -> int | None:
    """Take an exclusive lock on a file, which is created if it is missing.

    The kernel drops the lock when the last process that has the descriptor closes it or ends.

    Returns:
        The open descriptor, whose closing ends the lock; None if another process holds it.

    Raises:
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file; a missing file is not locked."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
