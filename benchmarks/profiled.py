"""Runs a service under cProfile: ``python -m benchmarks.profiled FILE MODULE``.

The service runs as always. On SIGPROF the statistics of the main thread go to ``FILE`` and the
process ends at once: what a service does at its end is not what is asked. Beside them,
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
from pathlib import Path
from typing import Final

_FUNCTIONS: Final = 40


def main() -> None:
    """Run the module that the command line names."""
    target, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = [module]
    profile = cProfile.Profile()

    def end(*_: object) -> None:
        profile.disable()
        profile.dump_stats(target)
        target.with_name(target.name + ".threads").write_text(thread_times())
        os._exit(0)

    signal.signal(signal.SIGPROF, end)
    profile.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


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


def thread_times() -> str:
    """Processor time of each thread of this process, one line each; Linux only."""
    ticks = os.sysconf("SC_CLK_TCK")
    found: list[tuple[float, str]] = []
    for folder in Path("/proc/self/task").glob("*"):
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        values = rest.split()
        found.append(((int(values[11]) + int(values[12])) / ticks, name))
    return "".join(f"{seconds:8.2f} s  {name}\n" for seconds, name in sorted(found, reverse=True))


if __name__ == "__main__":
    main()
