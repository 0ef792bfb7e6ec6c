"""The version of aiokafka whose internals the transport replaces.

`fetching` replaces three of aiokafka's private classes. With another version it may fail or decode
records wrongly, so other versions are refused before anything is read.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from millrace.contracts.errors import SetupError

AIOKAFKA: Final = "0.14.0"


def require_aiokafka() -> None:
    """Check that the pinned version of aiokafka is installed.

    Raises:
        SetupError: Another version, or none, is installed; the message contains the fix.
    """
    try:
        found = version("aiokafka")
    except PackageNotFoundError:
        found = "none"
    if found != AIOKAFKA:
        raise SetupError(
            f"aiokafka {AIOKAFKA} is needed, {found} is installed; mend it with:"
            f" pip install 'aiokafka=={AIOKAFKA}'"
        )
