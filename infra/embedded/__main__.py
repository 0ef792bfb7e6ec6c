"""Command line of the embedded servers, for process managers and the set-up.

``python -m millrace.infra.embedded fetch`` brings the jars; ``kafka`` and ``s3`` become that
server; ``stop`` ends servers that an earlier program left running.
"""

import argparse
import os
import sys
from pathlib import Path

from millrace.contracts.errors import MillraceError
from millrace.infra.embedded import halt, jar_cache, run_in_foreground
from millrace.infra.embedded.jars import SERVERS, fetch, maven
from millrace.infra.embedded.kafka import Behind
from millrace.infra.process.error_line import say_error


def main() -> int:
    """Run one command; errors that a person can fix are one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m millrace.infra.embedded", description=__doc__)
    parser.add_argument("command", choices=[*SERVERS, "fetch", "stop"])
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("MILLRACE_HOME", "var")))
    parser.add_argument("--cache", type=Path, help="folder of the jars (default: HOME/jars)")
    parser.add_argument("--port", type=int, help="preferred port")
    parser.add_argument(
        "--behind",
        type=lambda text: Behind(*map(int, text.split(":"))),
        default=os.environ.get("MILLRACE_KAFKA_BEHIND"),
        metavar="PORT:PROXY",
        help="for tests: also listen on PORT, for clients of a proxy on port PROXY",
    )
    arguments = parser.parse_args()
    home: Path = arguments.home
    cache: Path = (arguments.cache or jar_cache(home)).absolute()  # servers change the directory
    download = maven(os.environ.get("MILLRACE_MAVEN_REPOSITORY"))
    try:
        match arguments.command:
            case "fetch":
                fetch(cache, download=download)
            case "stop":
                for name in SERVERS:
                    halt(name, home)
            case name:
                run_in_foreground(
                    name,
                    home,
                    cache=cache,
                    port=arguments.port,
                    behind=arguments.behind,
                    download=download,
                )
    except MillraceError as error:
        say_error("millrace", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
