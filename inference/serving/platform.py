"""The platform on which forecasts are made: another one may give other bits (decision 16)."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

#: Instruction sets of x86-64, widest first: TensorFlow chooses its kernels by them.
_SETS: Final = ("amx_tile", "avx512f", "avx2", "avx", "sse4_2")
#: Names of the packages that hold TensorFlow.
_PACKAGES: Final = ("tensorflow", "tensorflow-cpu")
_CPUINFO: Final = Path("/proc/cpuinfo")


@cache
def platform_name() -> str:
    """Type of processor, its widest instruction set, and the version of TensorFlow.

    For example ``x86_64 avx2 tensorflow 2.21.0``.
    """
    processor = " ".join(filter(None, (platform.machine(), _widest_set())))
    return f"{processor} tensorflow {_tensorflow()}"


def _tensorflow() -> str:
    """TensorFlow's version, without the seconds that importing it takes."""
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            return version(package)
    return "none"


def _widest_set() -> str:
    try:
        text = _CPUINFO.read_text()
    except OSError:  # not Linux
        return ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    there = set(flags[1].split()) if flags else set()
    return next((name for name in _SETS if name in there), "")
