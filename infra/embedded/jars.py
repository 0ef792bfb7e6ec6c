"""Fetches and verifies the jar files of the servers' class paths, by Maven coordinate.

``jars.lock`` names every jar by Maven coordinate with its size and SHA-256. A jar is
downloaded into a staging folder, verified, and only then renamed into the cache under a name
that carries its digest. So every file in the cache is verified, the next start compares names
and sizes only, and two processes may fetch at once. No dependencies are resolved.
"""

import contextlib
import errno
import hashlib
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.maven import MavenContext, PythonResolver
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from millrace.contracts.errors import SetupError

LOCK = Path(__file__).with_name("jars.lock")
SERVERS = ("kafka", "s3")
_ATTEMPTS = 3
_PARALLEL = 8
_TIMEOUT_S = 30
_FULL = (errno.ENOSPC, errno.EDQUOT)

Advance = Callable[[int], None]
"""Called with the number of bytes that have just arrived."""

Download = Callable[["Jar", Path, Advance], Path]
"""Downloads one jar into a staging folder and returns its path."""


@dataclass(frozen=True)
class Jar:
    """One jar of the lock.

    Attributes:
        coordinate: ``group:artifact:version[:classifier]``.
        size: Bytes.
        sha256: Hexadecimal digest.
    """

    coordinate: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """Name in the cache; a changed digest is another file."""
        _, artifact, version, *classifier = self.coordinate.split(":")
        return f"{'-'.join([artifact, version, *classifier])}-{self.sha256[:12]}.jar"

    def cached_in(self, cache: Path) -> bool:
        """Whether the verified jar is in the cache; costs one `stat`."""
        try:
            return (cache / self.filename).stat().st_size == self.size
        except FileNotFoundError:
            return False


def locked(server: str, lock: Path = LOCK) -> list[Jar]:
    """Read the jars of one server, in the order of its class path."""
    table = tomllib.loads(lock.read_text())[server]
    return [Jar(name, entry["bytes"], entry["sha256"]) for name, entry in table.items()]


def maven(repository: str | None = None) -> Download:
    """Download by coordinate with `jgo.maven`.

    Args:
        repository: Base address of a mirror to use instead of Maven Central.
    """

    def download(jar: Jar, staging: Path, advance: Advance) -> Path:
        @contextmanager
        def progress(_filename: str, _size: int) -> Iterator[Advance]:
            yield advance

        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress),
            repo_cache=staging,
            local_repos=[],
            remote_repos={"mirror": repository.rstrip("/")} if repository else None,
            timeout=_TIMEOUT_S,
        )
        group, artifact, version, *classifier = jar.coordinate.split(":")
        component = context.project(group, artifact).at_version(version)
        path: Path = component.artifact(*classifier).resolve()
        return path

    return download


def fetch(
    cache: Path,
    servers: Sequence[str] = SERVERS,
    download: Download | None = None,
    lock: Path = LOCK,
) -> dict[str, list[Path]]:
    """Fetch the missing jars of some servers into the cache, in parallel.

    Args:
        cache: Folder of verified jars; created if it does not exist.
        servers: Tables of the lock.
        download: Downloads one jar; from Maven Central by default.
        lock: The lock file.

    Returns:
        The class path of each server.

    Raises:
        SetupError: No network, a full or read-only disk, or a jar that is not the locked one.
            No unverified jar is left in the cache, and verified ones stay.
    """
    jars = {server: locked(server, lock) for server in servers}
    missing = [jar for table in jars.values() for jar in table if not jar.cached_in(cache)]
    if missing:
        with _disk_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".staging-", dir=cache) as staging:
                _fetch_missing(missing, cache, Path(staging), download or maven())
    return {server: [cache / jar.filename for jar in table] for server, table in jars.items()}


def _fetch_missing(missing: list[Jar], cache: Path, staging: Path, download: Download) -> None:
    with _progress(sum(jar.size for jar in missing)) as advance:

        def bring(index: int, jar: Jar) -> None:
            folder = staging / str(index)
            path = _with_retries(jar, folder, advance, download)
            _verify(jar, path)
            path.replace(cache / jar.filename)

        with ThreadPoolExecutor(_PARALLEL) as pool:
            futures = [pool.submit(bring, i, jar) for i, jar in enumerate(missing)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _with_retries(jar: Jar, folder: Path, advance: Advance, download: Download) -> Path:
    """Try a few times; files that jgo leaves of a failed attempt are ignored."""
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        arrived = _Count(advance)
        try:
            return download(jar, folder / str(attempt), arrived)
        except (requests.RequestException, RuntimeError) as error:
            arrived.take_back()
            failure = error
    unreachable = isinstance(failure, requests.ConnectionError | requests.Timeout)
    why = (
        "the Maven repository does not answer: check the network (HTTPS_PROXY is honoured)"
        if unreachable
        else f"the Maven repository did not deliver it ({type(failure).__name__})"
    )
    raise SetupError(
        f"cannot download {jar.coordinate}: {why}, then run the same command again; "
        "MILLRACE_MAVEN_REPOSITORY names a mirror"
    ) from failure


def _verify(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != jar.sha256:
        raise SetupError(
            f"{jar.coordinate} is not the locked file: its SHA-256 is {digest[:16]}..., "
            f"{LOCK.name} says {jar.sha256[:16]}...; it was not kept. Run the same command "
            "again; if this repeats, the repository or a proxy alters files: do not use it"
        )


class _Count:
    """Counts the bytes of one attempt, so that those of a failed one can be subtracted."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._arrived = 0

    def __call__(self, size: int) -> None:
        self._arrived += size
        self._advance(size)

    def take_back(self) -> None:
        self._advance(-self._arrived)


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    """Show a bar on standard error for the bytes of all jars together."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    bar: AbstractContextManager[Progress] = Progress(*columns, console=console)
    with bar as progress:
        task = progress.add_task("Kafka and S3 server", total=total)
        yield lambda size: progress.advance(task, size)


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # requests' errors are OSErrors too, but `_with_retries` handles them.
        what = "the disk is full" if error.errno in _FULL else os.strerror(error.errno or 0)
        with contextlib.suppress(OSError):
            cache.rmdir()
        raise SetupError(
            f"cannot write the servers' jars to {cache}: {what}; make room (about 200 MB) or "
            "choose another folder with MILLRACE_HOME, then run the same command again"
        ) from error
