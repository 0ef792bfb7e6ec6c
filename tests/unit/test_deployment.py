"""What is deployed agrees with the code, and the tools that read it accept it."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from tests.places import PROJECT

COMPOSE = PROJECT / "docker-compose.yml"
PROMETHEUS = PROJECT / "infra" / "prometheus"
DASHBOARD = PROJECT / "infra" / "grafana" / "dashboards" / "millrace.json"
PARTS = ("stream-processor", "inference", "trainer", "archiver")
RUN_ONCE = ("prepare", "edge")
SECRETS = ("MILLRACE_S3_ACCESS_KEY", "MILLRACE_S3_SECRET_KEY", "GRAFANA_ADMIN_PASSWORD")


def services() -> dict[str, dict[str, Any]]:
    """The services of the Compose file."""
    described: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return described


def compose_available() -> bool:
    """Whether the docker client and its compose plugin are there; no daemon is needed."""
    if not shutil.which("docker"):
        return False
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return asked.returncode == 0


def run_compose(*arguments: str, secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Compose on the project's file, with these secrets and no others."""
    environment = {k: v for k, v in os.environ.items() if k not in SECRETS} | secrets
    return subprocess.run(
        ["docker", "compose", "--env-file", os.devnull, "--file", str(COMPOSE), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_an_image_is_built_from_all_packages() -> None:
    """Docker gets what is named, and nothing else."""
    sent = {line[1:] for line in (PROJECT / ".dockerignore").read_text().split() if line[0] == "!"}
    packages = {path.name for path in (PROJECT / "millrace").iterdir() if path.is_symlink()}
    assert packages | {"millrace", "pyproject.toml", "requirements.lock"} <= sent


@pytest.mark.skipif(not compose_available(), reason="the docker compose plugin is not installed")
def test_compose_accepts_the_file() -> None:
    """Compose accepts the file with all secrets, and refuses it when any is missing."""
    secrets = dict.fromkeys(SECRETS, "x")
    accepted = run_compose("--profile", "edge", "config", "--quiet", secrets=secrets)
    assert accepted.returncode == 0, accepted.stderr
    for missing in SECRETS:
        some = {name: value for name, value in secrets.items() if name != missing}
        refused = run_compose("config", "--quiet", secrets=some)
        assert refused.returncode != 0
        assert missing in refused.stderr


def test_every_part_is_a_service() -> None:
    """Each part, both servers and the monitoring is a service that says when it is healthy."""
    described = services()
    assert {*PARTS, "kafka", "objects", "prometheus", "grafana"} <= set(described)
    for name, service in described.items():
        assert ("healthcheck" in service) == (name not in RUN_ONCE), name


def test_nothing_listens_beyond_this_machine() -> None:
    """Every published port is bound to the loopback address."""
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_pinned_and_maintained() -> None:
    """Every image that is not ours names a version, and none is MinIO's archived server."""
    for name, service in services().items():
        image = service["image"]
        assert "minio/minio" not in image
        assert "build" in service or re.search(r":v?\d+\.\d+", image), name


def test_prometheus_scrapes_what_is_served() -> None:
    """Each part is scraped on the port on which it serves its telemetry."""
    described = services()
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {target for job in jobs for c in job["static_configs"] for target in c["targets"]}
    served = {
        f"{name}:{described[name]['environment']['MILLRACE_TELEMETRY_PORT']}" for name in PARTS
    }
    assert scraped == served


def test_alerts_and_dashboard_name_metrics_that_exist() -> None:
    """Every metric that an alert or a panel asks for is declared by some part."""
    declared = {
        metric
        for part in (PROJECT / "millrace").iterdir()
        for path in part.rglob("*.py")
        for metric in re.findall(r'"(millrace_[a-z_]+)"', path.read_text())
    }
    queries = (PROMETHEUS / "alerts.yml").read_text() + DASHBOARD.read_text()
    asked = set(re.findall(r"\b(millrace_[a-z_]+)\b", queries))
    asked = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in asked}
    assert asked
    assert asked <= declared


def test_dashboard_is_valid() -> None:
    """Every panel has a place of its own id and asks the provisioned data source."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_prometheus_accepts_its_configuration(arguments: tuple[str, ...]) -> None:
    """Promtool accepts configuration and rules, and the rules' own tests pass."""
    checked = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_lock_names_no_place() -> None:
    """The lock files name packages and digests, and no host or folder."""
    for path in (PROJECT / "requirements.lock", PROJECT / "infra" / "embedded" / "jars.lock"):
        assert not re.search(
            r"://|(^|\s)(--index|--find-links|-e |/)", path.read_text(), re.MULTILINE
        )


def test_lock_follows_the_project() -> None:
    """Every package that pyproject.toml asks for is pinned, so the lock is not forgotten."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for n, e in extras.items() if n != "gpu" for r in e)]
    names = {re.split(r"[\[<>=;\s]", requirement)[0] for requirement in wanted} - {"millrace"}
    lock = (PROJECT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert names <= pinned
