"""What an output tells about the sources that it has been made of."""

import pytest

from millrace.contracts.headers import SOURCE_OFFSET
from millrace.contracts.topics import DEAD_LETTERS
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.progress.output_progress import (
    FIRST_RECORDS,
    last_source_offsets,
    source_offsets_since,
)
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

pytestmark = pytest.mark.timeout(90)


def test_sources_are_found_from_one_on_however_far_back_that_is(settings: Settings) -> None:
    """Reading goes backwards, over several parts, and stops when it is enough."""
    create_topics(admin(settings), settings, [DEAD_LETTERS])
    offsets = range(0, FIRST_RECORDS * 40, 2)
    client = producer(settings)
    name = settings.named(DEAD_LETTERS.name)
    for offset in offsets:
        headers: list[tuple[str, str | bytes]] = [(SOURCE_OFFSET, str(offset).encode())]
        client.produce(name, b"x", partition=0, headers=headers)
    assert client.flush(30) == 0
    last = offsets[-1]
    for first in (0, 1, last - 3 * FIRST_RECORDS, last - 10, last, last + 1):
        expected = {offset for offset in offsets if offset >= first}
        assert source_offsets_since(settings, DEAD_LETTERS, 0, first) == expected
    assert last_source_offsets(settings, DEAD_LETTERS, [0]) == {0: last}
