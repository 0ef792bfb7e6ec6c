"""Names of consumer groups that are also queried by non-members."""

from __future__ import annotations

from typing import Final

#: The stream processors.
STREAM_PROCESSOR: Final = "millrace.stream-processor"
#: The archiver.
ARCHIVER: Final = "millrace.archiver"
#: The inference replicas: the group's members are the live ones.
INFERENCE: Final = "millrace.inference"
