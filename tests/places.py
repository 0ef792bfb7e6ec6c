"""Where tests find servers, and what the set-up has made."""

import os
from pathlib import Path

from millrace.infra import embedded
from millrace.infra.settings import Settings

PROJECT = Path(__file__).parent.parent


def jar_folder() -> Path:
    """Where the set-up put the servers' jars."""
    return embedded.jar_cache(Path(os.environ.get("MILLRACE_HOME", PROJECT / "var")))


def settings_at(
    endpoints: embedded.Endpoints, home: Path, namespace: str, **more: object
) -> Settings:
    """Settings that reach servers."""
    reached = {
        "kafka_bootstrap_servers": endpoints.kafka_bootstrap_servers,
        "s3_endpoint": endpoints.s3_endpoint,
        "s3_access_key": endpoints.s3_access_key,
        "s3_secret_key": endpoints.s3_secret_key,
    }
    return Settings.read(home=home, namespace=namespace, **{**reached, **more})
