"""Where a spool lies, whose it is, and that only one edge uses it.

A spool belongs to a namespace, a Kafka cluster and a source (a recording and its stretch, the
simulation, a machine). By default each such source has a folder of its own under
`Settings.home`, so that one run never sends or skips what belongs to another:

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
#: A limit below which a spool could not hold one large record.
LEAST_BYTES: Final = 16 << 20

_LOCK: Final = "lock"
_NAMESPACE, _CLUSTER, _SOURCE, _SPEC = "namespace", "cluster", "source", "spec"
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class SpoolOwner(NamedTuple):
    """What an edge reads.

    Attributes:
        name: Begins the folder's name.
        identity: Tells the source from all others of the same name, for people, too.
    """

    name: str
    identity: str


class SpoolOptions(NamedTuple):
    """What the command line says about the spool.

    Attributes:
        folder: Its folder; None for the default.
        limit_bytes: Size to which it may grow.
        restart: Whether a source begins again instead of going on where it was.
    """

    folder: Path | None = None
    limit_bytes: int = LIMIT_BYTES
    restart: bool = False


def parse_bytes(text: str) -> int:
    """Read a size.

    >>> parse_bytes("512M"), parse_bytes("1GiB"), parse_bytes("20000000")
    (536870912, 1073741824, 20000000)

    Raises:
        SettingsError: It is no size, or too small for a spool.
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
        with suppress(OSError):  # it holds something
            folder.rmdir()


def _lock(path: Path) -> int | None:
    """Lock a file that lies where it should: its last holder may just have removed it."""
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
    """Make a spool that of a source, or see that it is.

    Args:
        spool: Held by this process.
        settings: Whose namespace counts.
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
    """See that a spool's windows were meant for the cluster that answers.

    What waits for another cluster is never sent to this one unasked. A spool in which nothing
    waits forgets the other: a source begins again on a new cluster.

    Args:
        spool: Held by this process.
        cluster: Id of the cluster.
        anyway: Whether windows for another cluster go to this one.

    Raises:
        SettingsError: Windows wait for another cluster.
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
    """Whose a spool is, for people."""
    about = {name: value.decode() for name, value in spool.about.items()}
    where = f" in namespace {about[_NAMESPACE]}" if about.get(_NAMESPACE) else ""
    return f"{about.get(_SOURCE, 'an unknown source')}{where}"
