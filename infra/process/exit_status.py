"""Exit statuses of services and commands, for supervisors and people."""

from typing import Final

#: It stopped on request.
STOPPED: Final = 0
#: A server refuses or does not answer, or data are not usable; the last line names the cause.
FAILED: Final = 1
#: A setting is not usable; a restart changes nothing.
WRONG_SETTINGS: Final = 2
#: A command cannot do what was requested; the last line names the reason and the remedy.
NOT_DONE: Final = 2
#: An internal error; the supervisor should restart the process.
BROKEN: Final = 70
#: A command was ended by Ctrl-C, and has cleaned up.
INTERRUPTED: Final = 130
