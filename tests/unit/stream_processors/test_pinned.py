"""aiokafka is the version whose internals are replaced, everywhere it is named."""

import re
import tomllib

import pytest

from millrace.contracts.errors import SetupError
from millrace.stream_processors.transport import pinned
from tests.places import PROJECT


def test_what_is_installed_is_what_is_pinned() -> None:
    """In the package's requirements, in the lock file, and here."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert f"aiokafka=={pinned.AIOKAFKA}" in project["optional-dependencies"]["stream"]
    lock = (PROJECT / "requirements.lock").read_text()
    assert re.findall(r"^aiokafka==(\S+)", lock, re.MULTILINE) == [pinned.AIOKAFKA]
    pinned.require_aiokafka()


def test_another_version_is_refused_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is read with it."""
    monkeypatch.setattr(pinned, "AIOKAFKA", "0.1.0")
    with pytest.raises(SetupError, match=r"pip install 'aiokafka==0\.1\.0'"):
        pinned.require_aiokafka()


def test_private_classes_are_touched_in_one_module() -> None:
    """Nobody else imports what aiokafka does not document."""
    private = re.compile(r"aiokafka\.(consumer|record|coordinator|client|conn|producer)\b")
    folder = PROJECT / "stream_processors"
    found = [
        str(p.relative_to(folder)) for p in folder.rglob("*.py") if private.search(p.read_text())
    ]
    assert found == ["transport/fetching.py"]
