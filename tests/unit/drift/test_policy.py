"""What a finding asks for."""

from typing import get_args

import pytest

from millrace.contracts.events.drift_alert import Signal
from millrace.drift.policy import SETTINGS, judge


@pytest.mark.parametrize("signal", ["error", "skill"])
def test_loss_asks_for_a_training(signal: Signal) -> None:
    """A rising error or lost skill is critical, and a reason to train."""
    judgement = judge(signal, rising=True)
    assert (judgement.severity, judgement.asks_training) == ("critical", True)


def test_inputs_ask_for_a_look() -> None:
    """Inputs drift all the time without harm: a warning, and no training."""
    judgement = judge("input", rising=True)
    assert (judgement.severity, judgement.asks_training) == ("warning", False)


def test_every_tested_signal_has_settings() -> None:
    """Each signal that a detector watches has settings, and only inputs are two-sided."""
    assert set(SETTINGS) == set(get_args(Signal)) - {"serving"}
    assert [signal for signal, chosen in SETTINGS.items() if chosen.two_sided] == ["input"]
