"""Starts programs again that the process manager has given up.

``python -m millrace.infra.local.restarter``

supervisord backs off a second longer after every failed start, and gives up after a few. A
program that cannot start during an outage (a broker on a full disk, say) must be tried for
as long as that lasts, and soon after it ends; so this event listener of supervisord takes a
program that was given up and has it started anew, with a short back-off again. It runs
beside the programs, not in the console, and ends with supervisord.
"""

from __future__ import annotations

import os
import sys
import threading
import xmlrpc.client
from collections.abc import Mapping
from typing import Any, Final

from supervisor.childutils import get_headers, getRPCInterface, listener

#: How long a program is left alone after it was given up; a console that is starting the
#: system sees the state meanwhile, and tells the person.
PAUSE_SECONDS: Final = 3.0
#: What the process manager answers about a program that needs no help any more.
_PASSED: Final = frozenset({"ALREADY_STARTED", "BAD_NAME", "SHUTDOWN_STATE"})


def given_up(headers: Mapping[str, str], payload: str) -> str | None:
    """Read an event.

    Returns:
        The program that it says was given up; None if it says something else.

    >>> given_up({"eventname": "PROCESS_STATE_FATAL"}, "processname:kafka groupname:kafka")
    'kafka'
    """
    if headers.get("eventname") != "PROCESS_STATE_FATAL":
        return None
    name: str = get_headers(payload)["processname"]
    return name


def start_again(name: str) -> None:
    """Have a program started, without waiting until it is up."""
    manager: Any = getRPCInterface(os.environ)
    try:
        manager.supervisor.startProcess(name, False)
        _say(f"{name} was given up, and is started again")
    except xmlrpc.client.Fault as fault:
        if not any(word in fault.faultString for word in _PASSED):
            _say(f"{name} was given up, and cannot be started: {fault.faultString}")
    except OSError as error:  # it is ending: nothing is to be kept running any more
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
