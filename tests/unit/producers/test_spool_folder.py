"""A spool is of one namespace, cluster and source, and of one edge at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from millrace.contracts.errors import SettingsError
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.settings import Settings
from millrace.producers.delivery.spool_folder import (
    SpoolOwner,
    claim,
    claim_cluster,
    folder_of,
    lock_spool,
    parse_bytes,
    spec_of,
    spool_folders,
)
from millrace.producers.delivery.sqlite_spool import SqliteSpool
from millrace.producers.record import Record
from tests.places import PROJECT

PUMPS = SpoolOwner("replay-pumps", "the recording pumps")
WELLS = SpoolOwner("replay-pumps", "the recording wells")
SPEC = ModelSpec("pumps", ("flow",), 60.0, 32, 8, 8)
RECORD = Record(b"a", b"x", [], 0)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """Settings with a home of their own."""
    return Settings(home=tmp_path, namespace="plant")


def test_sources_and_namespaces_have_their_own_folders(here: Settings) -> None:
    """The same source has the same folder, any other another one, whatever its name."""
    other = here.model_copy(update={"namespace": "other"})
    folders = {folder_of(here, PUMPS), folder_of(here, WELLS), folder_of(other, PUMPS)}
    assert len(folders) == 3
    assert folder_of(here, PUMPS) == folder_of(here, PUMPS)
    odd = folder_of(here, SpoolOwner("host-../../my machine/ü", "x"))
    assert odd.parent == here.home / "edge"


def test_two_edges_on_one_spool(here: Settings) -> None:
    """The second is refused while the first lives, and not after it was killed."""
    folder = folder_of(here, PUMPS)
    program = (
        "import sys, pathlib, time\n"
        "from millrace.producers.delivery.spool_folder import lock_spool\n"
        "with lock_spool(pathlib.Path(sys.argv[1])):\n"
        "    print('mine', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        with pytest.raises(SettingsError, match="another edge uses the spool"), lock_spool(folder):
            pass
        first.kill()
    with lock_spool(folder), SqliteSpool(folder):
        pass
    assert spool_folders(here) == [folder]


def test_an_empty_folder_is_not_left_behind(here: Settings) -> None:
    """Without a spool in it, lock and folder go."""
    folder = folder_of(here, PUMPS)
    with lock_spool(folder):
        pass
    assert not folder.exists()


def test_windows_of_another_source_are_not_touched(here: Settings) -> None:
    """While something waits, only its own source may have the spool; then any may."""
    with SqliteSpool(here.home / "s") as spool:
        claim(spool, here, PUMPS, SPEC)
        spool.append([RECORD], b"position")
        claim(spool, here, PUMPS, SPEC)
        assert spec_of(spool) == SPEC
        for other in (WELLS, PUMPS):
            settings = here if other is WELLS else here.model_copy(update={"namespace": "b"})
            with pytest.raises(SettingsError, match="holds 1 windows of the recording pumps in"):
                claim(spool, settings, other, SPEC)
        spool.confirm(1)
        claim(spool, here, WELLS, None)
        assert (spool.position, spec_of(spool)) == (None, None)


def test_windows_for_another_cluster_are_not_sent_unasked(here: Settings) -> None:
    """What waits goes to the cluster it was for; an emptied spool begins again on another."""
    with SqliteSpool(here.home / "s") as spool:
        claim(spool, here, PUMPS, SPEC)
        claim_cluster(spool, "one")
        spool.append([RECORD], b"position")
        claim_cluster(spool, "one")
        with pytest.raises(SettingsError, match="1 windows for another Kafka cluster"):
            claim_cluster(spool, "two")
        claim_cluster(spool, "two", anyway=True)
        assert spool.position == b"position"
        spool.confirm(1)
        claim_cluster(spool, "three")
        assert not spool.position
        assert spec_of(spool) == SPEC


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("1.5 GiB", 3 << 29), ("2gb", 2 << 30), ("20000000", 20_000_000)],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are written as people write them, units counting in 1,024s."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "1.5", "-5M", "1X", "1K"])
def test_what_is_no_size(text: str) -> None:
    """A limit that is no size, or too small to be of use, is refused."""
    with pytest.raises(SettingsError, match="--spool-limit"):
        parse_bytes(text)
