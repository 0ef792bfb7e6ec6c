r"""Patterns of names that become a path or an object key.

They come from topics that others can write to, and so are checked when an event is decoded: a name
that leads out of its folder, or contains a control character, makes the event invalid. Code that
builds a path from a name resolves the path and checks it once more.

The patterns end in ``$(?!\n)``, since ``$`` alone would let a line break at the end pass in
Python; JSON Schema's dialect reads them alike.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

#: Longest name, characters: with a prefix it still fits into a file name.
MOST_CHARACTERS: Final = 200

_PLAIN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$(?!\n)"
_KEY: Final = r"^(?!\.{0,2}(/|$))(?!.*/\.{0,2}(/|$))[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$(?!\n)"

#: Id of a training run: a folder of the trainer, and part of object keys.
RunId = Annotated[str, msgspec.Meta(pattern=_PLAIN, max_length=MOST_CHARACTERS)]
#: Name of a replica, as its setting allows it, or with a prefix.
ReplicaName = Annotated[
    str, msgspec.Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9_.-]+$(?!\n)", max_length=MOST_CHARACTERS)
]
#: Name of a model: part of object keys. Its parts between slashes are never empty, `.` or `..`.
ModelName = Annotated[str, msgspec.Meta(pattern=_KEY, max_length=MOST_CHARACTERS)]
#: Prefix of an artefact's object keys.
KeyPrefix = Annotated[str, msgspec.Meta(pattern=_KEY, max_length=3 * MOST_CHARACTERS)]
