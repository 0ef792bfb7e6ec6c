"""The comparison with what was published: equal, different, missing, extra."""

import msgspec
import pytest

from millrace.contracts.events.prediction import Prediction
from millrace.inference.serving.platform import platform_name
from millrace.replay.published import Published
from millrace.replay.results import records_of_runs
from millrace.replay.verify import Comparison, compare
from tests.builders import AT
from tests.unit.replay.made import pipeline, records, run

REPLAYED = run(pipeline(), records(30))


@pytest.fixture
def published() -> dict[int, Published]:
    """What live has published of the same windows, at another time."""
    made = records_of_runs(REPLAYED.runs, "predictions", "live", AT)
    said = [msgspec.json.decode(value, type=Prediction) for _, _, value, _, _ in made]
    return {one.source.offset: Published(one) for one in said}


def test_the_same_predictions_are_equal(published: dict[int, Published]) -> None:
    """Whenever they were made."""
    found = compare(REPLAYED, published)
    assert found == Comparison(records=30, equal=30)
    assert found.is_equal


@pytest.mark.parametrize("platform", ["", platform_name(), "s390x"])
def test_a_bit_of_a_forecast_is_a_difference(
    published: dict[int, Published], platform: str
) -> None:
    """With its size and its place, and the cause if it was made elsewhere."""
    one = published[12].prediction
    steps = [list(step) for step in one.forecast]
    assert steps[2][1] is not None
    steps[2][1] += 1e-6
    published[12] = Published(msgspec.structs.replace(one, forecast=steps), platform)
    found = compare(REPLAYED, published)
    assert (found.equal, found.different, found.is_equal) == (29, 1, False)
    assert found.largest == pytest.approx(1e-6, rel=1e-3)
    (finding,) = found.findings
    assert (finding.position, finding.asset) == (12, "pump-0")
    assert finding.detail.startswith("differs in forecast")
    assert ("made on s390x" in finding.detail) == (platform == "s390x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 7),
        ("epoch", 7),
        ("artefact_digest", "other"),
        ("normaliser_digest", "other"),
        ("window_id", "w-other"),
        ("persistence", [0.0, 0.0]),
    ],
)
def test_every_field_counts(published: dict[int, Published], name: str, value: object) -> None:
    """Its name is told."""
    published[3] = Published(msgspec.structs.replace(published[3].prediction, **{name: value}))
    found = compare(REPLAYED, published)
    assert (found.different, found.findings[0].detail) == (1, f"differs in {name}")


def test_a_missing_and_an_extra_prediction(published: dict[int, Published]) -> None:
    """A window that nobody predicted, and a prediction of a record that is none."""
    del published[4]
    given = records(30)
    given[5] = given[5]._replace(value=b"")
    found = compare(run(pipeline(), given), published)
    assert (found.equal, found.missing, found.extra, found.refused) == (28, 1, 1, 1)
    assert [(each.kind, each.position) for each in found.findings] == [("missing", 4), ("extra", 5)]


def test_comparisons_add_up(published: dict[int, Published]) -> None:
    """The numbers do, the largest difference stays the largest, five findings a kind are kept."""
    none: dict[int, Published] = {}
    total = compare(REPLAYED, published) + compare(REPLAYED, none)
    assert (total.records, total.equal, total.missing) == (60, 30, 30)
    assert [each.position for each in total.findings] == [0, 1, 2, 3, 4]
