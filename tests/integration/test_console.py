"""The console against real servers: starting, stopping, reading, telling."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import msgspec
import psutil
import pytest

from millrace.console.demo.observer import Observer
from millrace.console.demo.summary import fold
from millrace.console.operations.models import read_registry, request_training
from millrace.console.operations.topic_tail import last_records
from millrace.contracts.clock import now
from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.window import encode_window
from millrace.contracts.headers import CONTENT_TYPE
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import (
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
    TRAINING_REQUESTS,
)
from millrace.contracts.wire.codec import headers_of
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.local.home import Home
from millrace.infra.local.leftovers import remove_from_servers
from millrace.infra.local.programs import SERVICES, Program
from millrace.infra.local.supervisor import Supervisor, stop_orphans
from millrace.infra.local.system import running_system
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.registry.decisions import declare
from millrace.verification.checker import count_windows, find_mixing
from millrace.verification.evidence import gather, raw_headers
from tests.builders import activated, approved, registered
from tests.places import PROJECT
from tests.unit.console.made import SPEC, clean_run, story

FAKE = dict.fromkeys(SERVICES, "tests.integration.fake_service")
BROKEN = {**FAKE, "trainer": "tests.integration.no_such_service"}


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The servers as settings of this process and of those that it starts."""
    values = {
        "MILLRACE_HOME": str(settings.home),
        "MILLRACE_NAMESPACE": settings.namespace,
        "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "MILLRACE_S3_ENDPOINT": settings.s3_endpoint,
        "MILLRACE_S3_ACCESS_KEY": settings.s3_access_key,
        "MILLRACE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture
def told(settings: Settings) -> Settings:
    """A namespace that holds a clean run of the hand-made story."""
    create_topics(admin(settings), settings)
    run = clean_run()
    client = producer(settings)
    for record in run.windows:
        assert record.window is not None
        client.produce(
            settings.named(SENSOR_WINDOWS.name),
            encode_window(record.window),
            record.window.asset.encode(),
            partition=0,
            headers=[(CONTENT_TYPE, MSGPACK.encode())],
        )
    for prediction in run.predictions:
        client.produce(
            settings.named(PREDICTIONS.name),
            msgspec.json.encode(prediction),
            prediction.asset.encode(),
            partition=0,
            headers=dict(headers_of(prediction, "/test", now())),
        )
    for window in run.normalized:
        client.produce(settings.named(NORMALIZED.name), msgspec.msgpack.encode(window), partition=0)
    assert client.flush(10) == 0
    publisher = Publisher(settings, "/test")
    for event in run.model_events:
        publisher.send(event)
    for entry in run.ledger:
        publisher.send(entry)
    return settings


def millrace(*arguments: str, environment: dict[str, str]) -> str:
    """Run the command line; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "millrace.console", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_checker_reads_what_is_in_the_topics(told: Settings) -> None:
    """What was written is found again, complete and unmixed."""
    evidence = gather(told)
    counts = count_windows(story(), evidence.windows, evidence.predictions, evidence.refusals, SPEC)
    assert (counts.sent, counts.predicted, counts.missing, counts.duplicated) == (5, 5, 0, 0)
    assert counts.altered == 0
    assert find_mixing(evidence, fold(evidence), SPEC.name).total == 0


def test_the_observer_sees_a_run_from_its_beginning(told: Settings) -> None:
    """Predictions, registry and ledger arrive, and each prediction has its latency."""
    observer = Observer(told)
    observer.start()
    try:
        wait_until(
            lambda: observer.seen.predictions == 5 and len(observer.seen.fences) == 2,
            "the hand-made run",
            seconds=20,
            meanwhile=observer.check,
        )
        with observer.lock:
            assert len(observer.seen.ended) == 5
            assert len(observer.seen.arrivals) == 5
            model = observer.seen.registry.models[SPEC.name]
            assert model.serving is not None
            assert model.serving.version == 1
    finally:
        observer.stop()


def test_the_last_records_are_found_from_the_end(told: Settings) -> None:
    """Only as many as asked for, the newest ones, oldest first."""
    found, ends = last_records(told, PREDICTIONS, 2)
    assert [json.loads(m.value() or b"")["source"]["offset"] for m in found] == [3, 4]
    assert ends[0] == 5
    assert dict(raw_headers(found[0]))["ce_type"] == b"millrace.prediction.v1"
    assert last_records(told, PREDICTIONS, 2, wanted=lambda m: m.key() == b"other")[0] == []


def test_commands_answer_in_json(told: Settings, environment: dict[str, str]) -> None:
    """Every command of a user works against the running system and speaks JSON."""
    lines = millrace("predictions", "tail", "-n", "3", "--json", environment=environment)
    assert [json.loads(line)["asset"] for line in lines.splitlines()] == ["tank-1"] * 3
    assert json.loads(millrace("drift", "list", "--json", environment=environment)) == []
    models = json.loads(millrace("models", "list", "--json", environment=environment))
    assert [(m["version"], m["state"]) for m in models] == [(0, "retired"), (1, "active")]
    status = json.loads(millrace("status", "--json", environment=environment))
    assert status["programs"] == []
    records = {t["name"]: t["records"] for t in status["topics"]}
    assert records[told.named(PREDICTIONS.name)] == 5
    assert json.loads(millrace("topics", "create", "--json", environment=environment)) == {
        "created": []
    }


def test_commands_answer_people(told: Settings, environment: dict[str, str]) -> None:
    """The same without --json is a table or a line per record."""
    tail = millrace("predictions", "tail", "-n", "2", environment=environment).splitlines()
    assert len(tail) == 3
    assert "level=" in tail[-1]
    assert "persistence" in millrace("models", "list", environment=environment)
    assert "0 of 0 alerts" in millrace("drift", "list", environment=environment)
    assert "sensor.windows" in millrace("topics", "list", environment=environment)


def test_a_training_can_be_asked_for(told: Settings) -> None:
    """The request is in its topic, and an unknown model is refused."""
    request = request_training(told, SPEC.name, now(), "a test")
    (message,) = read_all(told, TRAINING_REQUESTS)
    assert json.loads(message.value() or b"")["id"] == request.id
    with pytest.raises(DataError, match="no model pump"):
        request_training(told, "pump", now(), "a test")


def test_a_model_is_declared_once(told: Settings) -> None:
    """Again changes nothing, half of one is completed, a contradicting one is refused."""
    assert not declare_model(told, SPEC, "/test")
    with pytest.raises(DataError, match="another task"):
        declare_model(told, msgspec.structs.replace(SPEC, horizon=9), "/test")
    with pytest.raises(DataError, match="same sensors"):
        declare_model(told, msgspec.structs.replace(SPEC, name="basin"), "/test")
    other = msgspec.structs.replace(SPEC, name="basin", window=9)
    Publisher(told, "/test").send(declare(other, now())[0])
    assert read_registry(told).models["basin"].serving is None
    assert declare_model(told, other, "/test")
    assert read_registry(told).models["basin"].serving is not None
    assert not declare_model(told, other, "/test")
    assert set(read_registry(told).models) == {"tank", "basin"}


def test_a_system_runs_while_the_block_does(
    settings: Settings, environment: dict[str, str]
) -> None:
    """Programs are ready inside; a killed one comes back; afterwards nothing is left."""
    home = Home.of(settings)
    with running_system(settings, lambda _: None, modules=FAKE) as system:
        states = {state.name: state for state in system.supervisor.states()}
        assert set(states) == set(SERVICES)
        assert system.waiting_for() == []
        assert home.address.stat().st_mode & 0o077 == 0
        status = json.loads(millrace("status", "--json", environment=environment))
        assert {p["name"]: p["ready"] for p in status["programs"]} == dict.fromkeys(SERVICES, True)
        assert {lag["records"] for lag in status["lags"]} == {0}
        assert {r["program"] for r in status["restarts"]} == {*SERVICES}
        assert {r["restarts"] for r in status["restarts"]} == {0}
        assert status["concerns"] == []
        shown = millrace("status", environment=environment)
        assert "records to read" in shown
        assert "look:" not in shown

        first = states["inference"].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(
            lambda: (
                system.supervisor.pid_of("inference") not in (None, first)
                and not system.waiting_for()
            ),
            "the killed program to return",
            seconds=30,
        )
        with (
            pytest.raises(ServerError, match="running here already"),
            running_system(settings, lambda _: None, modules=FAKE),
        ):
            pass
        processes = [state.pid for state in system.supervisor.states()]
    assert not home.address.exists()
    assert not any(pid is not None and psutil.pid_exists(pid) for pid in processes)
    assert not system.supervisor.is_running()


def test_what_a_killed_console_left_is_ended(
    settings: Settings, environment: dict[str, str]
) -> None:
    """A stale process manager with its programs goes before a new system starts."""
    home = Home.of(settings)
    home.create()
    stale = Supervisor(home)
    sleeper = Program(
        "sleeper",
        (sys.executable, "-c", "__import__('threading').Event().wait()"),
        1,
        5,
    )
    stale.start([sleeper], PROJECT)
    wait_until(lambda: stale.pid_of("sleeper") is not None, "the sleeper", seconds=10)
    old = {stale.pid, stale.pid_of("sleeper")}
    with running_system(settings, lambda _: None, modules=FAKE) as system:
        assert "sleeper" not in {state.name for state in system.supervisor.states()}
        assert not any(pid is not None and _runs(pid) for pid in old)
    assert not stale.is_running()


def test_programs_whose_process_manager_was_killed_are_ended(
    settings: Settings, environment: dict[str, str]
) -> None:
    """They are recognised by the home and the mark in their environment, and only they."""
    home = Home.of(settings)
    marked = {**environment, "MILLRACE_PROGRAM": "inference"}
    sleep = [sys.executable, "-c", "__import__('threading').Event().wait()"]
    with (
        subprocess.Popen(sleep, env=marked) as ours,
        subprocess.Popen(sleep, env={**marked, "MILLRACE_HOME": "/elsewhere"}) as others,
    ):
        try:
            assert stop_orphans(home) == ["inference"]
            assert not _runs(ours.pid)
            assert others.poll() is None
        finally:
            others.terminate()


def test_a_service_that_does_not_stay_up_is_named(
    settings: Settings, environment: dict[str, str]
) -> None:
    """The error says which program, and its last words; what had started is stopped again."""
    with (
        pytest.raises(ServerError, match=r"trainer does not stay up.*no_such_service"),
        running_system(settings, lambda _: None, modules=BROKEN),
    ):
        pass
    assert not Supervisor(Home.of(settings)).is_running()


def test_only_leftovers_of_demonstrations_are_removed(settings: Settings) -> None:
    """Topics and buckets that a demonstration named go, and others stay."""
    old = settings.model_copy(update={"namespace": "demo-20250101-000000"})
    for each in (old, settings):
        create_topics(admin(each), each)
        ObjectStore(each).create_bucket()
    ObjectStore(old).put("models/x", b"x")
    remove_from_servers(settings)
    wait_until(
        lambda: old.named(PREDICTIONS.name) not in admin(settings).list_topics(timeout=10).topics,
        "the old topics to go",
        seconds=20,
    )
    assert settings.named(PREDICTIONS.name) in admin(settings).list_topics(timeout=10).topics
    buckets = ObjectStore(settings).buckets()
    assert old.bucket not in buckets
    assert settings.bucket in buckets


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_refused_version_is_listed_with_its_reason(
    told: Settings, environment: dict[str, str]
) -> None:
    """Units of the wrong length: the version is refused, its activation too, and both are told."""
    wrong = Normaliser((1.0,) * 9, (1.0,) * 9)
    publisher = Publisher(told, "/test")
    publisher.send(registered(9, spec=SPEC, units=wrong))
    publisher.send(approved(9, SPEC.name))
    publisher.send(activated(9, 9, SPEC.name))
    listed = json.loads(millrace("models", "list", "--json", environment=environment))
    refused = [line for line in listed if line["state"] == "refused"]
    assert [(line["model"], line["version"]) for line in refused] == [(SPEC.name, 9)] * 3
    assert refused[0]["detail"] == (
        f"registered: units of 9 sensors for a task of {len(SPEC.sensors)}:"
        " give one mean and one scale for each"
    )
    shown = millrace("models", "list", environment=environment)
    assert "3 events refused" in shown
    assert "units of 9 sensors" in shown
