"""``python -m millrace.producers replay fleet --rate 100``."""

import sys

from millrace.contracts.errors import MillraceError
from millrace.infra.terminal import Terminal
from millrace.producers.command_line import app


def main() -> int:
    """Run a command; errors for people are printed as one line."""
    try:
        app()
    except MillraceError as error:
        Terminal(stderr=True).print(f"error: {error}", style="red", soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
