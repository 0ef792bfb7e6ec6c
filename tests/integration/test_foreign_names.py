"""Names that others choose, in every command: shown escaped, and nothing done to a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import msgspec
import pytest

from millrace.contracts.events.dead_letter import dead_letter_headers
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.model_event import Approved, Registered
from millrace.contracts.events.training import TrainingRequest
from millrace.contracts.headers import CONTENT_TYPE, SOURCE_OFFSET
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import DEAD_LETTERS, PREDICTIONS, SENSOR_WINDOWS
from millrace.contracts.wire.codec import headers_of
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.registry.decisions import declare
from tests.builders import AT, prediction_of, pump_spec, pump_window
from tests.integration.observing import environment
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(300)

#: As others wrote them, and as they are shown. The control sequences are those of a terminal's
#: title and colour; nobody's terminal sees them.
NAMES: Final = {
    "pump[/a]": "pump[/a]",
    "pump[a]": "pump[a]",
    "pump :smile: \\[b]": "pump :smile: \\[b]",
    "pump\x1b[41m\x1b]0;owned\x07": r"pump\x1b[41m\x1b]0;owned\x07",
    "two\nlines\r": r"two\nlines\r",
    "c1\x9b31m": r"c1\x9b31m",
    "right\u202etfel\u2066": r"right\u202etfel\u2066",
}
COMMANDS: Final = (
    ("predictions", "tail", "-n", "100"),
    ("drift", "list"),
    ("dead-letters", "list"),
    ("dead-letters", "list", "--reason", "two\nlines\r"),
    ("models", "list"),
    ("status",),
    ("topics", "list"),
)


@pytest.fixture
def told(settings: Settings) -> Settings:
    """A namespace in which every name stands wherever a name can stand."""
    create_topics(admin(settings), settings)
    client, publisher = producer(settings), Publisher(settings, "/test")
    spec = pump_spec()
    for event in declare(spec, AT):
        publisher.send(event)
    for number, name in enumerate(NAMES):
        prediction = prediction_of(pump_window(3 * number, asset=name), number)
        client.produce(
            settings.named(PREDICTIONS.name),
            msgspec.json.encode(prediction),
            name.encode(),
            partition=0,
            headers=dict(headers_of(prediction, "/test", AT)),
        )
        letter = dead_letter_headers(
            [(CONTENT_TYPE, name.encode()), (name, b"a header's name")],
            InvalidRecord(name, f"why: {name}"),
            topic=SENSOR_WINDOWS.name,
            partition=0,
            offset=number,
            timestamp_ms=0,
        )
        client.produce(
            settings.named(DEAD_LETTERS.name),
            msgspec.json.encode({"asset": name}),
            name.encode(),
            partition=0,
            headers=[*letter, (SOURCE_OFFSET, b"%d" % number)],
        )
        publisher.send(
            DriftAlert(f"d-{number}", name, spec.name, 0, "input", name, name, 1.0, 0.5, "warning",
                       asks_training=False, event_time=AT, evidence_from=AT, samples=1,
                       source=None, detail=f"why: {name}")
        )  # fmt: skip
        version = number + 1
        publisher.send(
            Registered(id=f"r-{number}", model=spec.name, version=version, at=AT, spec=spec,
                       normaliser=Normaliser.identity(len(spec.sensors)))
        )  # fmt: skip
        publisher.send(
            Approved(id=f"a-{number}", model=spec.name, version=version, at=AT, detail=name)
        )
        publisher.send(TrainingRequest(f"q-{number}", spec.name, "request", name, AT, AT))
    assert client.flush(10) == 0
    return settings


def run(settings: Settings, *arguments: str, status: int = 0) -> str:
    """Run a command; what it prints, or of a failing one, its error."""
    done = subprocess.run(
        [sys.executable, "-m", "millrace.console", *arguments],
        cwd=PROJECT,
        env={**environment(settings), "COLUMNS": "400", "NO_COLOR": "1"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr.decode()
    return (done.stderr if status else done.stdout).decode()


def harmless(printed: str) -> bool:
    """Whether nothing is done to a terminal but to begin lines."""
    return all(c.isprintable() for c in printed.replace("\n", ""))


def test_every_command_shows_them_escaped(told: Settings) -> None:
    """As a table, as lines, and as JSON, whose text is the same but for how it is written."""
    for command in COMMANDS:
        printed = run(told, *command)
        assert harmless(printed), command
        as_json = run(told, *command, "--json")
        assert harmless(as_json), command

    lines = run(told, "predictions", "tail", "-n", "100").splitlines()
    assert len(lines) == 1 + len(NAMES)  # one line each
    for line, shown in zip(lines[1:], NAMES.values(), strict=True):
        assert f"  {shown} " in line
    tail = run(told, "predictions", "tail", "-n", "100", "--json").splitlines()
    assert [json.loads(line)["asset"] for line in tail] == list(NAMES)

    for command in (("drift", "list"), ("dead-letters", "list"), ("models", "list")):
        printed = run(told, *command)
        assert all(shown in printed for shown in NAMES.values()), command


def test_a_letter_and_an_error_show_them_escaped(told: Settings) -> None:
    """Headers, content and key of one letter; a name that is asked for and not there."""
    for number, (name, shown) in enumerate(NAMES.items()):
        if name in {"pump[/a]", "two\nlines\r"}:
            printed = run(told, "dead-letters", "show", f"0:{number}")
            assert harmless(printed)
            assert printed.count(shown) >= 4  # reason, detail, key, headers
            error = run(told, "models", "train", name, status=2)
            assert harmless(error)
            assert f"there is no model {shown};" in error
            assert error.count("\n") == 1
