"""What is built to be installed: one import name, and all of its packages."""

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.places import PROJECT


def modules() -> set[PurePosixPath]:
    """Every module of the project, as an installation names it."""
    linked = [folder for folder in (PROJECT / "millrace").iterdir() if folder.is_symlink()]
    found = [path for folder in linked for path in folder.rglob("*.py")]
    return {PurePosixPath(path.relative_to(PROJECT)) for path in found}


def wheel_of(project: Path, folder: Path) -> set[PurePosixPath]:
    """Build a wheel; the files in it."""
    (built,) = WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        return {PurePosixPath(name) for name in archive.namelist()}


def test_a_wheel_adds_one_name_with_everything_in_it(tmp_path: Path) -> None:
    """Nothing lands over another package's modules, and no module is left out."""
    files = wheel_of(PROJECT, tmp_path)
    assert {file.parts[0] for file in files if ".dist-info" not in file.parts[0]} == {"millrace"}
    assert modules() <= files
    assert PurePosixPath("millrace/infra/embedded/jars.lock") in files
    assert PurePosixPath("millrace/contracts/schemas/prediction.json") in files


def test_a_wheel_that_is_built_from_the_source_archive_is_the_same(tmp_path: Path) -> None:
    """Whoever builds from the source archive gets every module, too."""
    (built,) = SdistBuilder(str(PROJECT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert wheel_of(source, tmp_path / "second") == wheel_of(PROJECT, tmp_path / "first")
