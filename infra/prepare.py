"""Creates the topics and the bucket on the servers that the settings name.

``python -m millrace.infra.prepare`` is for deployments whose services are not started by the
console (Compose, Kubernetes): run it once before them. Running it again changes nothing.
"""

import sys

from millrace.contracts.errors import MillraceError
from millrace.infra.kafka.clients import admin
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.error_line import say_error
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.infra.topics.settings import Finding


def _warn(finding: Finding) -> None:
    print(f"millrace: warning: {finding}", file=sys.stderr)  # noqa: T201  # for the person


def main() -> int:
    """Create missing topics and the bucket; errors are printed as one line."""
    try:
        settings = Settings.read()
        created = create_topics(admin(settings), settings, warn=_warn)
        store = ObjectStore(settings)
        store.create_bucket()
    except MillraceError as error:
        say_error("millrace", error)
        return 1
    print(f"topics created: {len(created)}; bucket: {store.bucket}")  # noqa: T201  # likewise
    return 0


if __name__ == "__main__":
    sys.exit(main())
