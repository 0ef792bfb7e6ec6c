"""The peers' own environment: made once from pinned versions, so that ours stays what it is.

It is kept in ``<home>/bench/peers`` and made again when `peers.txt` changes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from millrace.contracts.errors import MillraceError
from millrace.infra.bootstrap import uv_environment

PINNED: Final = Path(__file__).with_name("peers.txt")
_SECONDS: Final = 300.0


class PeersMissingError(MillraceError):
    """The peers cannot be installed; says why, and what to do."""


def peer_python(folder: Path, tell: Callable[[str], None]) -> Path:
    """Find the peers' interpreter, making its environment if need be.

    Args:
        folder: Folder of the benchmarks' files.
        tell: Told when something is fetched.

    Raises:
        PeersMissingError: It cannot be made.
    """
    where = folder / "peers"
    python, stamp = where / "bin" / "python", where / "complete"
    digest = sha256(PINNED.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest and python.exists():
        return python
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise PeersMissingError("peers are not installed: uv is not there; run `make setup`")
    tell("the peers' packages (once)")
    shutil.rmtree(where, ignore_errors=True)
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(where)],
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(python),
            "--require-hashes",
            "-r",
            str(PINNED),
        ],
    ):
        try:
            ran = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
                env=uv_environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise PeersMissingError(
                "peers are not installed: the package index is too slow"
            ) from error
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or ["nothing"]
            raise PeersMissingError(f"peers are not installed; uv said: {said[-1]}")
    stamp.write_text(digest)
    return python
