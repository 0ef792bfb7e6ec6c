"""Health check of a container: exits with 0 if its service is ready."""

import os
import sys
import urllib.request
from urllib.error import URLError


def main() -> int:
    """Query the service's own telemetry."""
    port = os.environ["MILLRACE_TELEMETRY_PORT"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=3) as answer:
            return 0 if answer.status == 200 else 1  # noqa: PLR2004  # HTTP 200 OK
    except (URLError, TimeoutError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
