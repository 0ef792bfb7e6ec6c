"""The version of aiokafka whose internals the transport replaces.

`fetching` puts its own classes in the place of three of aiokafka's private ones. Another version
may fail, or decode records wrongly; so it is refused before anything is read.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from millrace.contracts.errors import SetupError

AIOKAFKA: Final = "0.14.0"


def require_aiokafka() -> None:
    """Make sure that the pinned version of aiokafka is installed.

    Raises:
        SetupError: Another one is, or none; says how to mend it.
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
