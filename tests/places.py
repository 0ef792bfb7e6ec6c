"""Where tests find what the set-up has made."""

import os
from pathlib import Path

from millrace.infra import embedded

PROJECT = Path(__file__).parent.parent


def jar_folder() -> Path:
    """Where the set-up put the servers' jars."""
    return embedded.jar_cache(Path(os.environ.get("MILLRACE_HOME", PROJECT / "var")))
