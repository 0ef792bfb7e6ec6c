"""Inference that sends itself SIGSTOP at a point: ``MILLRACE_FREEZE=<point>@<times>``, once.

A frozen process differs from a hung one: its client's threads are frozen, too, so that the
group and the transaction coordinator give it up. The real service otherwise, unchanged.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from importlib import import_module
from typing import Final

import structlog

#: Modules of inference that reach points.
_REACHING: Final = (
    "millrace.inference.kafka.commit_pipeline",
    "millrace.inference.kafka.transactions",
)
_log = structlog.get_logger(__name__)


def main() -> int:
    """Run inference, with its points replaced by one that freezes it."""
    point, _, times = os.environ["MILLRACE_FREEZE"].partition("@")
    seen: Counter[str] = Counter()

    def reached(here: str) -> None:
        seen[here] += 1
        if here == point and seen[here] == int(times):
            _log.warning("frozen", point=here)
            os.kill(os.getpid(), signal.SIGSTOP)
            _log.warning("thawed", point=here)

    for name in _REACHING:
        names = vars(import_module(name))
        if "reached" not in names:
            raise LookupError(f"{name} reaches no point; name the modules that do")
        names["reached"] = reached
    main_of_inference = import_module("millrace.inference.__main__").main
    status: int = main_of_inference()
    return status


if __name__ == "__main__":
    sys.exit(main())
