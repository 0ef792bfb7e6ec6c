"""Exit code 0 if the service in this container is ready: the containers' health check."""

import os
import sys
import urllib.request
from urllib.error import URLError


def main() -> int:
    """Ask the service's own telemetry."""
    port = os.environ["MILLRACE_TELEMETRY_PORT"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=3) as answer:
            return 0 if answer.status == 200 else 1  # noqa: PLR2004  # HTTP's own number
    except (URLError, TimeoutError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
