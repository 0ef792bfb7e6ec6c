"""A lock, so that only one console at a time runs a system on a home.

The kernel holds the lock and releases it when the process ends, however it ends; the process id
in the file is for people.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from millrace.contracts.errors import ServerError
from millrace.infra.files import try_lock
from millrace.infra.local.home import Home


@contextmanager
def only_console(home: Home) -> Iterator[None]:
    """Hold a home's lock while the block runs. Children do not inherit it.

    Args:
        home: The home; its folders exist.

    Raises:
        ServerError: Another console holds it; names the process.
    """
    path = home.run / "console.lock"
    descriptor = try_lock(path)
    if descriptor is None:
        holder = path.read_text(errors="replace").strip() or "just started"
        raise ServerError(
            f"a system is running here already (process {holder}, home {home.root}):"
            " look at it with `millrace status`, end it with Ctrl-C in its terminal,"
            " or choose another folder with MILLRACE_HOME"
        )
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
