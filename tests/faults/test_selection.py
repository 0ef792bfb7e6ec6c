"""A few cases of the fault harness, so that every test run proves its guarantees anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millrace.infra import embedded
from tests.faults.cases.catalogue import all_cases
from tests.faults.harness.runner import Runner

pytestmark = pytest.mark.timeout(300)

SELECTION = (
    "kill@stream-processor.between-output-and-state",
    "kill@inference.before-commit",
    "ledger/quiet",
    "topic/recreated-unseen",
)


@pytest.fixture(scope="module")
def runner(
    servers: embedded.Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    """Plays cases on the session's servers; one running system for all that leave no scars."""
    with Runner(tmp_path_factory.mktemp("faults"), servers) as made:
        yield made


@pytest.mark.parametrize("name", SELECTION)
def test_a_fault_has_no_effect(runner: Runner, name: str) -> None:
    """Nothing is lost, doubled, disordered or mixed, and the state is an undisturbed run's."""
    result = runner.run(all_cases()[name], seed=1)
    assert result.verdict == "passed", result
    assert result.state_equal or not all_cases()[name].compares_state


def test_a_broken_build_is_caught(runner: Runner) -> None:
    """Inference that commits its offsets outside the transaction loses windows: it is seen."""
    result = runner.run(all_cases()["broken/commits-outside-the-transaction"], seed=1)
    assert result.verdict == "caught", result
    assert result.missing > 0
