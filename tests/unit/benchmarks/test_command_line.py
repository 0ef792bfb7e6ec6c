"""What `make bench` runs."""

import pytest

from benchmarks.__main__ import BENCHMARKS, SHOW, parse


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], list(BENCHMARKS)),
        (["--quick"], list(BENCHMARKS)),
        (["memory", "all"], list(BENCHMARKS)),
        (["swaps", "memory", "swaps"], ["swaps", "memory"]),
        (["show", "memory"], [SHOW]),
    ],
)
def test_benchmarks_are_those_that_are_named_or_all(words: list[str], names: list[str]) -> None:
    """Without a name all are run; a name that is given twice is run once."""
    assert parse(words).names == names


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    with pytest.raises(SystemExit):
        parse(["speed"])
    assert "processing" in capsys.readouterr().err
