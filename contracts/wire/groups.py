"""Consumer groups that others than their members ask about."""

from __future__ import annotations

from typing import Final

#: The stream processors.
STREAM_PROCESSOR: Final = "millrace.stream-processor"
#: The archiver.
ARCHIVER: Final = "millrace.archiver"
#: The inference replicas: its members are those that are live.
INFERENCE: Final = "millrace.inference"
