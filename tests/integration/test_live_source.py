"""A live source of two assets, the page's own, through the spool of an edge to a real broker."""

from collections import defaultdict
from pathlib import Path

import pytest

from millrace.contracts.events.window import decode_window
from millrace.contracts.headers import content_type_of
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.producers.delivery.open_forwarder import Run
from millrace.producers.delivery.spool_folder import SpoolOptions, SpoolOwner
from millrace.producers.live import live_windows
from millrace.producers.pacing import Pacer, Tempo
from millrace.producers.session import Session
from tests.conformance.pages import example

pytestmark = pytest.mark.timeout(120)
WINDOWS = 12


def test_windows_of_both_assets_arrive(settings: Settings, tmp_path: Path) -> None:
    """Each window once, in order per asset, under its own key; the spool is done with."""
    create_topics(admin(settings), settings)
    asked: list[str] = []

    def ask(tank: str) -> str:
        asked.append(tank)
        return f"{tank[-1]}.25;{'' if len(asked) % 5 else 20.5}"

    source = example("sources.md").TankSource(ask)
    folder = tmp_path / "spool"
    run = Run(
        source.spec,
        "/tanks",
        SpoolOwner(source.name, source.title),
        SpoolOptions(folder, 64 << 20, restart=False),
        live=True,
    )
    enough = 2 * (source.spec.window + WINDOWS * source.spec.stride)
    with Session(settings, source.spec.name, as_json=True) as session:
        windows = live_windows(source, lambda: len(asked) >= enough)
        session.deliver(run, windows, Pacer(Tempo()), total=None)
    arrived = defaultdict(list)
    for message in read_all(settings, SENSOR_WINDOWS):
        window = decode_window(message.value() or b"", content_type_of(message.headers() or []))
        assert message.key() == window.asset.encode()
        assert window.sensors == source.spec.sensors
        assert set(window.values[:, 0].tolist()) == {float(f"{window.asset[-1]}.25")}
        arrived[window.asset].append(window.start_ms)
    assert sorted(arrived) == ["tank-1", "tank-2"]
    assert all(starts == sorted(set(starts)) for starts in arrived.values())
    assert sum(map(len, arrived.values())) >= WINDOWS
    assert not folder.exists()
