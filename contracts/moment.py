"""A moment in JSON events: RFC 3339 with a zone; one without is refused on decoding.

A time without a zone cannot be compared with other times: the comparison would raise.
"""

from datetime import datetime
from typing import Annotated

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
