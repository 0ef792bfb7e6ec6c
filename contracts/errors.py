"""What can go wrong, as a person should read it.

Broken machinery and wrong input reach people as one line: what, where, and
how to mend it. The command line prints such an error as its message alone;
any other exception is a defect and keeps its traceback. Bad *records* are not
exceptions but values (see the dead letters).

```
MillraceError
├── SettingsError     a setting or a command-line argument is missing or wrong
├── DataError         a file, record or artefact is not what it should be
├── SetupError        something to install or fetch is missing or was altered
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
    """A file, record or artefact is not what it should be."""


class SetupError(MillraceError):
    """Something to install or fetch is missing, unreachable or was altered."""


class ServerError(MillraceError):
    """A server that Millrace needs cannot be started or does not answer."""
