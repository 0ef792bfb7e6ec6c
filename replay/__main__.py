"""A worker of a replay; see `replay.worker`. Started by `replay.workers`."""

from __future__ import annotations

import sys

from millrace.replay.worker import main

if __name__ == "__main__":
    sys.exit(main())
