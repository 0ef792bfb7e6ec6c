"""Files that other processes read, and locks that end with their holder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.infra.files import is_locked, replace_file, try_lock
from tests.places import PROJECT

_HOLDER = """\
import sys
from pathlib import Path
from millrace.infra.files import try_lock
print(try_lock(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_a_file_is_replaced_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    """Text or bytes; nothing but the file is left."""
    path = tmp_path / "state"
    path.write_text("before")
    path.chmod(0o644)
    replace_file(path, "text")
    assert path.read_text() == "text"
    replace_file(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    """The error comes before the old content goes."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(tmp_path / "folder", "text")
    assert (tmp_path / "folder").is_dir()


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    """However it ends; until then no other process has it."""
    path = tmp_path / "lock"
    assert not is_locked(path)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline().strip().isdigit()
    assert is_locked(path)
    assert try_lock(path) is None
    holder.kill()
    holder.communicate()
    assert not is_locked(path)
    mine = try_lock(path)
    assert mine is not None
    os.close(mine)
