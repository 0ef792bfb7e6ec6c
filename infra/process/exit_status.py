"""Exit statuses of services and commands: what a supervisor and a person can tell from them."""

from typing import Final

#: It was told to stop.
STOPPED: Final = 0
#: A server refuses or does not answer, or data are not usable; the last line says what.
FAILED: Final = 1
#: A setting is not usable; starting it again changes nothing.
WRONG_SETTINGS: Final = 2
#: A command cannot do what it was asked to; the last line says why, and how to mend it.
NOT_DONE: Final = 2
#: Something broke that should not; to be started again.
BROKEN: Final = 70
#: A command was ended by Ctrl-C, and has tidied up.
INTERRUPTED: Final = 130
