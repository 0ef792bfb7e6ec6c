"""The supervisor configuration, read back by supervisor's own parser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from millrace.contracts.errors import SettingsError
from millrace.infra.local.home import Home
from millrace.infra.local.programs import SERVICES, Program, render_configuration, servers, services
from millrace.infra.settings import Settings


def parse(text: str, folder: Path) -> ServerOptions:
    """Read a configuration as supervisord does."""
    path = folder / "supervisord.conf"
    path.write_text(text)
    options = ServerOptions()
    options.realize(["-c", str(path), "-n"], doc="")
    return options


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose name needs care."""
    home = Home(tmp_path / "all mine, really")
    home.create()
    return home


def test_every_program_is_read_back(home: Home) -> None:
    """Names, commands, restarts and group signals survive odd characters in paths."""
    settings = Settings.read(home=home.root, namespace="test")
    programs = [*servers(home), *services(settings, [1, 2, 3, 4], {"MILLRACE_S3_SECRET_KEY": "x"})]
    options = parse(render_configuration(programs, home, home.root), home.root)
    groups = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert set(groups) == {"kafka", "s3proxy", "restarter", *SERVICES}
    inference = groups["inference"]
    assert inference.command == f"{sys.executable} -m millrace.inference"
    assert inference.autorestart.__name__ == "RestartUnconditionally"
    assert (inference.startsecs, inference.startretries) == (10, 3)
    assert inference.stopasgroup
    assert inference.killasgroup
    assert inference.environment["MILLRACE_HOME"] == str(home.root)
    assert inference.environment["MILLRACE_TELEMETRY_PORT"] == "2"
    assert inference.stdout_logfile == str(home.logs / "inference.log")


def test_servers_stop_after_the_services_that_use_them(home: Home) -> None:
    """A lower priority starts earlier and stops later."""
    settings = Settings.read(home=home.root)
    first = max(program.priority for program in servers(home))
    last = min(program.priority for program in services(settings, [1, 2, 3, 4], {}))
    assert first < last


def test_a_command_with_spaces_stays_one_word(home: Home) -> None:
    """Paths with spaces are quoted."""
    program = Program("odd", ("/opt/my python/bin/python", "-m", "x"), 1, 1)
    options = parse(render_configuration([program], home, home.root), home.root)
    command = options.process_group_configs[0].process_configs[0].command
    assert command == '"/opt/my python/bin/python" -m x'


@pytest.mark.parametrize("name", ['with "quotes"', "100% sure", "a ;b"])
def test_a_home_that_cannot_be_quoted_is_refused(name: str, tmp_path: Path) -> None:
    """Better no start than a configuration that means something else."""
    with pytest.raises(SettingsError, match="MILLRACE_HOME"):
        Home.of(Settings.read(home=tmp_path / name))


def test_a_long_home_has_its_socket_elsewhere(tmp_path: Path) -> None:
    """A Unix socket's path must fit into about a hundred bytes."""
    home = Home(tmp_path / ("x" * 90))
    assert len(str(home.socket)) < 100
    assert not home.socket.is_relative_to(home.root)
