"""Only the locked bytes reach the cache, and every failure says what to do."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
import requests

from millrace.contracts.errors import SetupError
from millrace.infra.embedded import jars
from millrace.infra.embedded.jars import Advance, Download, Jar

GOOD = b"the locked bytes"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file with one jar."""
    digest = hashlib.sha256(GOOD).hexdigest()
    path = tmp_path / "jars.lock"
    path.write_text(
        f'[kafka]\n"org.example:one:1.0:all" = {{ bytes = {len(GOOD)}, sha256 = "{digest}" }}\n'
    )
    return path


def delivering(content: bytes, calls: list[str]) -> Download:
    """A repository that delivers these bytes for everything."""

    def download(jar: Jar, staging: Path, advance: Advance) -> Path:
        calls.append(jar.coordinate)
        staging.mkdir(parents=True)
        path = staging / "anything.jar"
        path.write_bytes(content)
        advance(len(content))
        return path

    return download


def failing(error: Exception) -> Download:
    """A repository that always fails like this."""

    def download(jar: Jar, staging: Path, advance: Advance) -> Path:
        advance(1)
        raise error

    return download


def test_fetches_once(tmp_path: Path, lock: Path) -> None:
    """The second fetch finds the verified file and asks nobody."""
    calls: list[str] = []
    cache = tmp_path / "cache"
    for _ in range(2):
        paths = jars.fetch(cache, ["kafka"], delivering(GOOD, calls), lock)
    assert calls == ["org.example:one:1.0:all"]
    assert [path.read_bytes() for path in paths["kafka"]] == [GOOD]
    assert [path.name for path in cache.iterdir()] == [paths["kafka"][0].name]


def test_altered_jar_is_refused(tmp_path: Path, lock: Path) -> None:
    """A jar of the right size and other content is refused, and nothing of it is kept."""
    cache = tmp_path / "cache"
    with pytest.raises(SetupError, match="is not the locked file"):
        jars.fetch(cache, ["kafka"], delivering(GOOD[::-1], []), lock)
    assert not list(cache.iterdir())


def test_truncated_file_in_the_cache_is_fetched_again(tmp_path: Path, lock: Path) -> None:
    """A file of another size than the locked one does not count as there."""
    cache = tmp_path / "cache"
    (path,) = jars.fetch(cache, ["kafka"], delivering(GOOD, []), lock)["kafka"]
    path.write_bytes(GOOD[:-1])
    calls: list[str] = []
    jars.fetch(cache, ["kafka"], delivering(GOOD, calls), lock)
    assert len(calls) == 1
    assert path.read_bytes() == GOOD


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (requests.ConnectionError("no route"), "check the network"),
        (RuntimeError("404"), "did not deliver it"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
    ],
)
def test_failure_is_one_line_that_helps(
    tmp_path: Path, lock: Path, error: Exception, says: str
) -> None:
    """No network, a missing jar and a full disk each say what to do, in one line."""
    with pytest.raises(SetupError, match=says) as raised:
        jars.fetch(tmp_path / "cache", ["kafka"], failing(error), lock)
    assert "\n" not in str(raised.value)


def test_lock_pins_every_jar() -> None:
    """Each jar of the real lock has a full digest, a size and a file name of its own."""
    everything = [jar for server in jars.SERVERS for jar in jars.locked(server)]
    assert len({jar.filename for jar in everything}) == len(everything)
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in everything)
    assert "://" not in jars.LOCK.read_text()
