"""Where a benchmark ran: processor, memory, system, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
import psutil

_GIB: Final = float(1 << 30)
_PACKAGES: Final = (
    "confluent-kafka",
    "faust-streaming",
    "aiokafka",
    "numpy",
    "msgspec",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "river",
)


class Machine(msgspec.Struct, frozen=True):
    """A machine.

    Attributes:
        processor: Its name.
        cores: Logical cores that this process may use.
        memory_gib: Main memory.
        system: Operating system.
        python: Version of the interpreter.
        kafka: Version of the broker, if it is the embedded one.
        packages: Versions of the libraries that figures depend on.
        load_before: Average number of busy processes in the minute before the benchmark: a
            machine that is not idle gives figures that are too low.
    """

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    kafka: str
    packages: dict[str, str]
    load_before: float


def this_machine(kafka: str) -> Machine:
    """Describe this machine.

    Args:
        kafka: What is known of the broker.
    """
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        memory_gib=round(psutil.virtual_memory().total / _GIB, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        kafka=kafka,
        packages=_versions(),
        load_before=round(os.getloadavg()[0], 2),
    )


def _cores() -> int:
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
