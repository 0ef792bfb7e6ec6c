"""Restarts programs that the process manager has given up on.

``python -m millrace.infra.local.restarter``

supervisord backs off a second longer after every failed start, and gives up after a few. A
program that cannot start during an outage (a broker on a full disk, for example) must be retried
for as long as the outage lasts, and soon after it ends; so this event listener of supervisord
restarts a program that was given up on, with a short back-off again. It runs as one of
supervisord's processes, not in the console, and ends with supervisord.
"""

from __future__ import annotations

import os
import sys
import threading
import xmlrpc.client
from collections.abc import Mapping
from typing import Any, Final

from supervisor.childutils import get_headers, getRPCInterface, listener

#: Delay before a program that was given up on is restarted; meanwhile a console that is starting
#: the system sees the state and reports it.
PAUSE_SECONDS: Final = 3.0
#: The process manager's answers for a program that need not be restarted any more.
_PASSED: Final = frozenset({"ALREADY_STARTED", "BAD_NAME", "SHUTDOWN_STATE"})


def given_up(headers: Mapping[str, str], payload: str) -> str | None:
    """Parse an event.

    Returns:
        The program that was given up on; None if it is another event.

    >>> given_up({"eventname": "PROCESS_STATE_FATAL"}, "processname:kafka groupname:kafka")
    'kafka'
    """
    if headers.get("eventname") != "PROCESS_STATE_FATAL":
        return None
    name: str = get_headers(payload)["processname"]
    return name


def start_again(name: str) -> None:
    """Start a program, without waiting until it is up."""
    manager: Any = getRPCInterface(os.environ)
    try:
        manager.supervisor.startProcess(name, False)
        _say(f"{name} was given up, and is started again")
    except xmlrpc.client.Fault as fault:
        if not any(word in fault.faultString for word in _PASSED):
            _say(f"{name} was given up, and cannot be started: {fault.faultString}")
    except OSError as error:  # supervisord is shutting down: nothing to restart any more
        _say(f"{name} was given up, and so is the process manager: {error}")


def _say(line: str) -> None:
    print(f"restarter: {line}", file=sys.stderr, flush=True)  # noqa: T201  # its log


def main() -> int:
    """Listen until the process manager ends."""
    while True:
        listener.ready()
        line = sys.stdin.readline()
        if not line:
            return 0
        headers = get_headers(line)
        name = given_up(headers, sys.stdin.read(int(headers["len"])))
        if name is not None:
            timer = threading.Timer(PAUSE_SECONDS, start_again, [name])
            timer.daemon = True
            timer.start()
        listener.ok()


if __name__ == "__main__":
    sys.exit(main())
