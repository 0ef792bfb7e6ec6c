"""Location and owner of a spool, and the lock that lets only one edge use it.

A spool belongs to a namespace, a Kafka cluster and a source (a recording and its stretch, the
simulation, a machine). By default each such source has a folder of its own under
`Settings.home`, so that one run never sends or skips windows of another:

```
<home>/edge/<name>-<digest of namespace and source>/spool.sqlite, confirmed, lock
```
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from millrace.contracts.errors import SettingsError
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.files import try_lock
from millrace.infra.settings import Settings
from millrace.producers.delivery.sqlite_spool import DATABASE, LIMIT_BYTES, SqliteSpool

#: Folder of the spools in `Settings.home`.
SPOOLS: Final = "edge"
#: Smallest limit: a smaller spool could not hold one large record.
LEAST_BYTES: Final = 16 << 20

_LOCK: Final = "lock"
_NAMESPACE, _CLUSTER, _SOURCE, _SPEC = "namespace", "cluster", "source", "spec"
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class SpoolOwner(NamedTuple):
    """The source that a spool belongs to.

    Attributes:
        name: Prefix of the folder's name.
        identity: Distinguishes the source from all others of the same name, also for people.
    """

    name: str
    identity: str


class SpoolOptions(NamedTuple):
    """Options of the command line about the spool.

    Attributes:
        folder: Its folder; None for the default.
        limit_bytes: Size to which it may grow.
        restart: Whether a source starts again instead of resuming at its place.
    """

    folder: Path | None = None
    limit_bytes: int = LIMIT_BYTES
    restart: bool = False


def parse_bytes(text: str) -> int:
    """Parse a size.

    >>> parse_bytes("512M"), parse_bytes("1GiB"), parse_bytes("20000000")
    (536870912, 1073741824, 20000000)

    Raises:
        SettingsError: It is not a size, or too small for a spool.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    size = 0 if match is None else int(float(match[1]) * (2 ** _UNITS[match[2]]))
    if match is None or (match[2] == "" and "." in match[1]):
        raise SettingsError(f"--spool-limit {text!r} is no size; write one like 512M or 2G")
    if size < LEAST_BYTES:
        raise SettingsError(f"--spool-limit {text!r}: give at least {LEAST_BYTES >> 20}M")
    return size


def folder_of(settings: Settings, source: SpoolOwner) -> Path:
    """Default folder of a source's spool."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", source.name).strip("-.")[:60] or "edge"
    digest = digest_of(settings.namespace, source.identity)[:10]
    return settings.home / SPOOLS / f"{plain}-{digest}"


def spool_folders(settings: Settings) -> list[Path]:
    """All folders under `Settings.home` that hold a spool."""
    return sorted(path.parent for path in (settings.home / SPOOLS).glob(f"*/{DATABASE}"))


@contextmanager
def lock_spool(folder: Path) -> Iterator[None]:
    """Hold a spool's folder; a folder that is empty in the end is removed.

    Raises:
        SettingsError: Another edge holds it, or it cannot be made.
    """
    path = folder / _LOCK
    try:
        descriptor = _lock(path)
    except OSError as error:
        raise SettingsError(
            f"the spool's folder {folder} cannot be used: {error.strerror}; choose another with"
            " --spool, or send from memory with --no-spool"
        ) from error
    if descriptor is None:
        raise SettingsError(
            f"another edge uses the spool {folder}; end that one first, or give this one its own"
            " with --spool, or none with --no-spool"
        )
    try:
        yield
    finally:
        if not (folder / DATABASE).exists():
            path.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _lock(path: Path) -> int | None:
    """Lock a file, and check that it still exists: its last holder may just have removed it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = try_lock(path)
        if descriptor is None:
            return None
        here = os.fstat(descriptor)
        if path.exists() and os.path.samestat(here, path.stat()):
            return descriptor
        os.close(descriptor)


def claim(
    spool: SqliteSpool, settings: Settings, source: SpoolOwner, spec: ModelSpec | None
) -> None:
    """Assign a spool to a source, or check that it belongs to it.

    Args:
        spool: Held by this process.
        settings: Names the namespace.
        source: The source.
        spec: The model to declare before the windows are sent; None for none.

    Raises:
        SettingsError: It holds windows, or the place, of another source.
    """
    about = {
        _NAMESPACE: settings.namespace.encode(),
        _SOURCE: source.identity.encode(),
        _SPEC: b"" if spec is None else msgspec.json.encode(spec),
    }
    known = spool.about
    differs = any(known.get(name, about[name]) != about[name] for name in (_NAMESPACE, _SOURCE))
    if differs and spool.waiting:
        raise SettingsError(
            f"the spool {spool.folder} holds {spool.waiting:,} windows of {describe(spool)};"
            f" send them first (`millrace edge flush --spool {spool.folder}`), or choose another"
            " folder"
        )
    if differs:
        spool.clear()
    if any(spool.about.get(name) != value for name, value in about.items()):
        spool.note(about)


def claim_cluster(spool: SqliteSpool, cluster: str, *, anyway: bool = False) -> None:
    """Check that a spool's windows were meant for the cluster that answers.

    Windows that were spooled for another cluster are never sent to this one by default. An empty
    spool is reassigned to this cluster: a source starts again on a new cluster.

    Args:
        spool: Held by this process.
        cluster: Id of the cluster.
        anyway: Whether windows for another cluster are sent to this one.

    Raises:
        SettingsError: The spool holds windows for another cluster.
    """
    known = spool.about.get(_CLUSTER, b"").decode()
    if known == cluster:
        return
    if known and spool.waiting and not anyway:
        raise SettingsError(
            f"the spool {spool.folder} holds {spool.waiting:,} windows for another Kafka cluster"
            f" ({known}; here is {cluster}): send them here with `millrace edge flush --spool"
            f" {spool.folder} --any-cluster`, or remove that folder to drop them"
        )
    if known and not spool.waiting:
        kept = dict(spool.about)
        spool.clear()
        spool.note(kept)
    spool.note({_CLUSTER: cluster.encode()})


def spec_of(spool: SqliteSpool) -> ModelSpec | None:
    """The model to declare before a spool's windows are sent."""
    packed = spool.about.get(_SPEC)
    return msgspec.json.decode(packed, type=ModelSpec) if packed else None


def namespace_of(spool: SqliteSpool) -> str:
    """The namespace that a spool's windows are for."""
    return spool.about.get(_NAMESPACE, b"").decode()


def describe(spool: SqliteSpool) -> str:
    """Describe a spool's owner, for people."""
    about = {name: value.decode() for name, value in spool.about.items()}
    where = f" in namespace {about[_NAMESPACE]}" if about.get(_NAMESPACE) else ""
    return f"{about.get(_SOURCE, 'an unknown source')}{where}"
