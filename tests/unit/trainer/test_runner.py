"""A run's local folder: nothing that is deleted or written lies outside the trainer's."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.contracts.errors import DataError
from millrace.trainer.runs.runner import decided_before, folder_of, forget


@pytest.mark.parametrize(
    "run_id", ["..", ".", "", "../other", "/elsewhere-e-test", "a/b", "a/../../b"]
)
def test_a_run_id_does_not_lead_out_of_the_folder(tmp_path: Path, run_id: str) -> None:
    """Whatever it is; also where it is a repetition."""
    kept = tmp_path / "kafka" / "data"
    kept.mkdir(parents=True)
    for repeat in (False, True):
        if repeat and run_id in {"..", ".", ""}:
            continue  # a plain name with its prefix
        with pytest.raises(DataError, match="run"):
            forget(tmp_path, run_id, repeat=repeat)
    with pytest.raises(DataError):
        decided_before(tmp_path, run_id)
    assert kept.exists()


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    """A folder that is a link to another one is not the run's."""
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "run-1").symlink_to(tmp_path)
    with pytest.raises(DataError):
        folder_of(tmp_path, "run-1")


def test_a_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """A repetition has another one."""
    assert folder_of(tmp_path, "run-1") == tmp_path.resolve() / "trainer" / "run-1"
    assert folder_of(tmp_path, "run-1", repeat=True).name == "repeat-run-1"
