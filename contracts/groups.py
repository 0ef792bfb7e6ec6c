"""Consumer groups that a service asks about although another one is in them."""

from __future__ import annotations

from typing import Final

#: The inference replicas: its members are those that are live.
INFERENCE: Final = "millrace.inference"
