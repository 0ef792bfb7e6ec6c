"""Exit statuses of all services: what a supervisor and a person can tell from them."""

from typing import Final

#: It was told to stop.
STOPPED: Final = 0
#: A server refuses or does not answer, or data are not usable; the last line says what.
FAILED: Final = 1
#: A setting is not usable; starting it again changes nothing.
WRONG_SETTINGS: Final = 2
#: Something broke that should not; to be started again.
BROKEN: Final = 70
