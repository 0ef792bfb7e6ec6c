"""The object store is away, absent at the start, slow, or refuses: nothing waits for it."""

from __future__ import annotations

from millrace.infra.local.programs import INFERENCE
from millrace.model_families.artefact import publish
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant
from tests.faults.harness.servers import S3
from tests.faults.harness.slow_http import SlowHttp
from tests.faults.harness.source import SPEC
from tests.faults.harness.versions import approved, packed, registered

_SOME = 100


@case("store/away", own_servers=True)
def store_goes_away(plant: Plant) -> None:
    """The store dies before a version is fetched; it is fetched when the store is back."""
    assert plant.servers is not None
    number = max(plant.registry.models[SPEC.name].versions) + 1
    reference = publish(plant.store, packed(SPEC, number))
    with plant.source.flowing(rate=100):
        plant.servers.kill(S3)
        plant.publish(registered(SPEC, number, reference), approved(SPEC, number))
        plant.fault()
        plant.until_predicted(5 * _SOME)
        plant.servers.start(S3)
        plant.await_ready(number)
        plant.await_fences(plant.activate(number))
        plant.until_predicted(_SOME)


@case("store/absent-at-start", own_servers=True)
def store_is_absent_at_the_start(plant: Plant) -> None:
    """Inference starts while the store is away: persistence answers, then the active version."""
    assert plant.servers is not None
    serving = plant.registry.models[SPEC.name].serving
    assert serving is not None
    with plant.source.flowing(rate=100):
        plant.until_predicted(_SOME)
        plant.servers.kill(S3)
        plant[INFERENCE].kill()
        plant.fault()
        plant.until_recovered()
        plant.servers.start(S3)
        plant.until(
            lambda: _latest_version(plant) == serving.version,
            f"version {serving.version} to answer again",
        )
        plant.until_predicted(_SOME)


@case("store/slow")
def store_is_slow(plant: Plant) -> None:
    """Each answer of the store takes two seconds: the old version serves meanwhile."""
    with SlowHttp(plant.settings.s3_endpoint, seconds=2.0) as slow:
        _through(plant, {"MILLRACE_S3_ENDPOINT": slow.address})
        with plant.source.flowing():
            version = plant.make_version()
            plant.fault()
            plant.until_predicted(2 * _SOME)
            plant.await_ready(version)
            plant.await_fences(plant.activate(version))
            plant.until_predicted(_SOME)
        _through(plant, {"MILLRACE_S3_ENDPOINT": plant.settings.s3_endpoint})


@case("store/refusing")
def store_refuses(plant: Plant) -> None:
    """Wrong keys: persistence answers, and the right keys bring the active version back."""
    serving = plant.registry.models[SPEC.name].serving
    assert serving is not None
    with plant.source.flowing(rate=100):
        _through(plant, {"MILLRACE_S3_SECRET_KEY": "wrong"})
        plant.fault()
        plant.until_recovered()
        plant.expect(_latest_version(plant) == 0, "the version came from nowhere")
        key = plant.settings.s3_secret_key.get_secret_value()
        _through(plant, {"MILLRACE_S3_SECRET_KEY": key})
        plant.until(
            lambda: _latest_version(plant) == serving.version,
            f"version {serving.version} to answer again",
        )


def _through(plant: Plant, environment: dict[str, str]) -> None:
    """Start inference anew with another way to the store."""
    plant[INFERENCE].rearm(environment)
    plant[INFERENCE].stop()
    plant[INFERENCE].start()


def _latest_version(plant: Plant) -> int:
    """The version that made the latest prediction."""
    return plant.latest_prediction().version
