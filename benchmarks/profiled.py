"""Runs a service under cProfile: ``python -m benchmarks.profiled FILE MODULE``.

The service runs as always, and the profile begins when it says that it is ready: its imports
would drown its work. On SIGPROF the statistics of the main thread go to ``FILE`` and the
process ends at once: what a service does at its end is not what is asked either. Beside them,
``FILE.threads`` says how much processor time each thread has had, since the threads of
librdkafka and TensorFlow are not Python's.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from millrace.infra.local.health import readiness
from millrace.infra.local.waiting import wait_until

_FUNCTIONS: Final = 40
_READY_SECONDS: Final = 90.0


def main() -> None:
    """Run the module that the command line names."""
    target, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = [module]
    profile = cProfile.Profile()
    before: dict[int, float] = {}

    def begin(*_: object) -> None:
        profile.disable()
        profile.clear()
        before.update({thread: seconds for thread, (seconds, _) in thread_times().items()})
        profile.enable()

    def end(*_: object) -> None:
        profile.disable()
        profile.dump_stats(target)
        target.with_name(target.name + ".threads").write_text(_table(before))
        os._exit(0)

    signal.signal(signal.SIGPROF, end)
    signal.signal(signal.SIGVTALRM, begin)
    threading.Thread(target=_await_ready, name="await-ready", daemon=True).start()
    profile.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _await_ready() -> None:
    """Let the main thread begin anew when the service is ready."""
    port = int(os.environ["MILLRACE_TELEMETRY_PORT"])
    wait_until(lambda: readiness(port).ready, "the service", seconds=_READY_SECONDS)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGVTALRM)


def summarise(profile: Path) -> Path:
    """Write what a profile says for people: the dearest functions, then the threads.

    Returns:
        The text file.
    """
    text = io.StringIO()
    pstats.Stats(str(profile), stream=text).sort_stats("tottime").print_stats(_FUNCTIONS)
    threads = profile.with_name(profile.name + ".threads")
    target = profile.with_suffix(".txt")
    target.write_text(text.getvalue() + "processor time by thread\n" + threads.read_text())
    return target


def thread_times() -> dict[int, tuple[float, str]]:
    """Processor time and name of each thread of this process, by its id; Linux only."""
    ticks = os.sysconf("SC_CLK_TCK")
    found: dict[int, tuple[float, str]] = {}
    for folder in Path("/proc/self/task").glob("*"):
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        values = rest.split()
        found[int(folder.name)] = ((int(values[11]) + int(values[12])) / ticks, name)
    return found


def _table(before: dict[int, float]) -> str:
    """Say what each thread has used since then, one line each."""
    used = [
        (seconds - before.get(thread, 0.0), name)
        for thread, (seconds, name) in thread_times().items()
    ]
    return "".join(f"{seconds:8.2f} s  {name}\n" for seconds, name in sorted(used, reverse=True))


if __name__ == "__main__":
    main()
