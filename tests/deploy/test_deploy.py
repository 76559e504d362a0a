"""The deploy files are valid and keep their promises, checked without a container engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DOCKERFILE = DEPLOY / "Dockerfile"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return loaded


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    assert hadolint.exists(), "run `make setup`"
    _run(str(hadolint), "--no-color", str(DOCKERFILE))


def test_the_compose_file_follows_the_compose_specification() -> None:
    _run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))


def test_the_compose_check_would_notice_a_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("depends_on:", "depends_upon:"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert users
    assert users[-1] not in {"root", "0"}


def test_the_image_installs_only_what_is_locked() -> None:
    installs = re.findall(r"pip install[^&\n]*", DOCKERFILE.read_text())
    assert installs
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_every_copied_path_exists_and_reaches_the_builder() -> None:
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE.read_text(), flags=re.MULTILINE)]
    for path in (path for paths in copied for path in paths):
        assert (DEPLOY.parent / path).exists(), path
        assert path in allowed or f"{Path(path).parent}/*.txt" in allowed, path


def test_secrets_have_no_default_and_no_value_in_the_file() -> None:
    text = COMPOSE.read_text()
    assert not re.findall(r"(?:SECRET|PASSWORD|_KEY)\w*: (?!.*\$\{)\S+", text)
    assert all(rule.startswith(":?") for rule in re.findall(r"\$\{\w*(?:SECRET|PASSWORD|_KEY)\w*([^}]*)\}", text))


def test_every_long_running_service_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    assert "HEALTHCHECK" in DOCKERFILE.read_text()
    own_image = {"tollway", "migrate"}
    assert all("healthcheck" in service for name, service in services.items() if name not in own_image)


def test_tollway_waits_for_the_migration_and_its_servers(services: dict[str, dict[str, Any]]) -> None:
    waits = {name: rule["condition"] for name, rule in services["tollway"]["depends_on"].items()}
    assert waits == {"migrate": "service_completed_successfully", "postgres": "service_healthy", "redis": "service_healthy"}


def test_only_tollway_is_reachable_from_outside(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["tollway"]


def test_compose_names_only_settings_that_exist(services: dict[str, dict[str, Any]]) -> None:
    from gateway.settings import describe

    known = {name for name, _default, _text in describe()}
    named = {name for service in services.values() for name in service.get("environment", {}) if name.startswith("TOLLWAY_")}
    named |= set(re.findall(r"\bTOLLWAY_\w+(?==)", DOCKERFILE.read_text()))
    assert named <= known


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
