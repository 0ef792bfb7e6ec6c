"""Errors with messages for people.

System failures and wrong input are reported as one line: the failure, its place, and its
remedy. The command line prints only the message of such an error; any other exception is a
defect and keeps its traceback. Bad *records* are not exceptions but values (see the dead
letters).

```
MillraceError
├── SettingsError     a setting or a command-line argument is missing or wrong
├── DataError         a file, record or artefact is missing or invalid
├── SetupError        a package or file to install or fetch is missing or was altered
└── ServerError       Kafka, the object store or their machine does not answer
```

>>> from millrace.contracts.errors import SettingsError
>>> str(SettingsError("MILLRACE_KAFKA_PARTITIONS is -1: give a number from 1 up"))
'MILLRACE_KAFKA_PARTITIONS is -1: give a number from 1 up'
"""

__all__ = ["DataError", "MillraceError", "ServerError", "SettingsError", "SetupError"]


class MillraceError(Exception):
    """An error whose message is meant for the person at the keyboard."""


class SettingsError(MillraceError):
    """A setting or a command-line argument is missing or wrong."""


class DataError(MillraceError):
    """A file, record or artefact is missing or invalid."""


class SetupError(MillraceError):
    """A package or file to install or fetch is missing, unreachable or was altered."""


class ServerError(MillraceError):
    """A server that Millrace needs cannot be started or does not answer."""
