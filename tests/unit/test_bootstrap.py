"""The set-up says what is missing, and does nothing when nothing is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.infra import bootstrap


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of three input files, without an environment."""
    for name in ("requirements.lock", "pyproject.toml", "jars.lock"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / ".venv" / "millrace.stamp")
    monkeypatch.setattr(bootstrap, "LOCK", tmp_path / "requirements.lock")
    inputs = tuple(tmp_path / n for n in ("requirements.lock", "pyproject.toml", "jars.lock"))
    monkeypatch.setattr(bootstrap, "INPUTS", inputs)
    return tmp_path


def test_stamp_fits_only_what_it_was_made_from(project: Path) -> None:
    """A finished environment is current until an input changes or its Python is gone."""
    assert not bootstrap.is_current()
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert not bootstrap.is_current()
    bootstrap.STAMP.write_text(bootstrap.digest())
    assert bootstrap.is_current()
    (project / "requirements.lock").write_text("changed")
    assert not bootstrap.is_current()
    (project / "requirements.lock").write_text("requirements.lock")
    assert bootstrap.is_current()
    python.unlink()
    assert not bootstrap.is_current()


def test_wrong_python_says_which_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any suitable Python the message names the versions and how to name one."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(bootstrap.SetupError, match=r"Python 3\.11 to 3\.13 is needed") as raised:
        bootstrap.suitable_python()
    assert "\n" not in str(raised.value)


def test_another_python_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that is too old looks for the newest suitable one by name."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    there = {"python3.12": "/usr/bin/python3.12", "python3.11": "/usr/bin/python3.11"}
    monkeypatch.setattr(shutil, "which", there.get)
    assert bootstrap.suitable_python() == "/usr/bin/python3.12"


def test_full_disk_is_refused_before_anything_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room is found out at once, not after minutes of downloading."""
    usage = shutil.disk_usage(project)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(bootstrap.SetupError, match="make room"):
        bootstrap.set_up(sys.executable, project / "var")
    assert not (project / ".venv").exists()


def test_lock_without_uv_is_refused(project: Path) -> None:
    """A lock file that was cut short is named, instead of installing something else."""
    with pytest.raises(bootstrap.SetupError, match="does not pin uv"):
        bootstrap.install_packages()


def test_pip_settings_hold_for_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mirror and wheel folders that pip is configured with are handed on, if they exist."""
    listed = (
        "global.index-url='https://mirror.example/simple'\n"
        f":env:.find-links='{tmp_path} /nowhere/at/all'\n"
        "global.timeout='60'\n"
    )
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 0, listed, ""),
    )
    for name in bootstrap.UV_SETTINGS.values():
        monkeypatch.delenv(name, raising=False)
    environment = bootstrap.uv_environment()
    assert environment["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert environment["UV_FIND_LINKS"] == str(tmp_path)
    assert environment["UV_HTTP_TIMEOUT"] == "60"
