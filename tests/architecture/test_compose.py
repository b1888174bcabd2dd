"""Do the compose file and the image fit the program, and give nothing away?"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from infra.cli.app import app
from infra.installation import LOOPS
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SETTINGS = {f"HEARD_{name.upper()}" for name in Settings.model_fields}
LOCK, IMAGE_LOCK = ((ROOT / name).read_text() for name in ("requirements.lock", "requirements.image.lock"))

PLANTED: dict[str, Any] = yaml.safe_load(
    """
    services:
      a:
        image: heard:0.1.0
        command: [consume, nothing]
        environment: {HEARD_NOTHING: "1", HEARD_KAFKA_PASSWORD: "${X:-secret}"}
        ports: ["9092:9092", "0.0.0.0:1:1"]
      b:
        image: heard:0.1.0
        command: [consumes]
        environment: {A_PASSWORD: open sesame, HEARD_DATABASE_URL: "postgresql://a:b@c/d"}
        user: root
      c: {image: "postgres:latest", privileged: true, env_file: .env}
      d: {image: apache/kafka, environment: {URL: "postgresql://heard:${POSTGRES_PASSWORD:?said}@e/f"}}
    """
)
"""What must be found."""


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run the program, as the program."""
    return {
        name: service
        for name, service in compose["services"].items()
        if service["image"].startswith("heard:") and "entrypoint" not in service
    }


def unknown_verbs(compose: dict[str, Any]) -> list[str]:
    """Services whose command is none of the program's, and loops that there are not."""
    return [name for name, service in ours(compose).items() if not _is_verb(service["command"])]


def _is_verb(words: list[str]) -> bool:
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        command, words = command.commands.get(words[0]), words[1:]
    if command is None or hasattr(command, "commands"):
        return False
    options = {option for parameter in command.params for option in parameter.opts}
    if not {word for word in words if word.startswith("--")} <= options:
        return False
    return command.name != "consume" or set(words) <= set(LOOPS)


def unknown_settings(compose: dict[str, Any]) -> list[str]:
    """Variables in HEARD_ that the program would refuse."""
    return [
        name
        for service in compose["services"].values()
        for name in service.get("environment", {})
        if name.startswith("HEARD_") and name not in SETTINGS
    ]


def passwords(compose: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every variable that holds a secret, with what it is given."""
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                yield name, value
            elif found := re.search(r"://[^:/]+:(.*)@", str(value)):
                yield name, found[1]


def known_passwords(compose: dict[str, Any]) -> list[str]:
    """Secrets that do not come from the environment alone."""
    return [
        name for name, value in passwords(compose) if not re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", str(value))
    ]


OWNERS = {"postgres", "migrate", "login"}
"""Who has to do with the owner of the database, whom PostgreSQL refuses nothing."""


def told_of_the_owner(compose: dict[str, Any]) -> list[str]:
    """Services that are given the owner's password, or the whole of .env, and do without."""
    return [
        name
        for name, service in compose["services"].items()
        if name not in OWNERS and ("POSTGRES_PASSWORD" in str(service) or "env_file" in service)
    ]


def loose_images(compose: dict[str, Any]) -> list[str]:
    """Images without a tag that names one version."""
    images = {service["image"] for service in compose["services"].values()}
    return sorted(image for image in images if not re.fullmatch(r"[\w./-]+:\d+\.\d+(\.\d+)?[\w.-]*", image))


def open_ports(compose: dict[str, Any]) -> list[str]:
    """Ports that others than this host could reach."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    return [port for port in ports if not str(port).startswith("127.0.0.1:")]


def unconfined(compose: dict[str, Any]) -> list[str]:
    """Services that may do more than they need."""
    return [
        name
        for name, service in compose["services"].items()
        if service.get("privileged")
        or service.get("user") == "root"
        or service.get("cap_drop") != ["ALL"]
        or service.get("security_opt") != ["no-new-privileges:true"]
        or (service["image"].startswith("heard:") and service.get("read_only") is not True)
    ]


FINDINGS = {
    unknown_verbs: ["a", "b"],
    unknown_settings: ["HEARD_NOTHING"],
    told_of_the_owner: ["c", "d"],
    known_passwords: ["HEARD_KAFKA_PASSWORD", "A_PASSWORD", "HEARD_DATABASE_URL"],
    loose_images: ["apache/kafka", "postgres:latest"],
    open_ports: ["9092:9092", "0.0.0.0:1:1"],
    unconfined: ["a", "b", "c", "d"],
}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: str(finding.__name__))
def test_the_compose_file_fits_the_program_and_gives_nothing_away(finding: Any) -> None:
    assert finding(COMPOSE) == []


@pytest.mark.parametrize(("finding", "planted"), FINDINGS.items(), ids=lambda it: getattr(it, "__name__", ""))
def test_what_is_planted_is_found(finding: Any, planted: list[str]) -> None:
    assert finding(PLANTED) == planted


def test_there_is_something_to_be_found() -> None:
    assert len(list(passwords(COMPOSE))) > len(LOOPS)
    assert any("ports" in service for service in COMPOSE["services"].values())


def test_every_loop_has_a_container_and_a_principal_of_its_own() -> None:
    loops = {
        service["command"][1]: service["environment"]["HEARD_KAFKA_USERNAME"]
        for service in ours(COMPOSE).values()
        if service["command"][0] == "consume"
    }
    assert loops == {name: f"heard-{name}" for name in LOOPS}


def test_every_principal_that_a_service_uses_is_made() -> None:
    used = {
        (service["environment"]["HEARD_KAFKA_USERNAME"], service["environment"]["HEARD_KAFKA_PASSWORD"])
        for service in ours(COMPOSE).values()
        if "HEARD_KAFKA_USERNAME" in service.get("environment", {})
    }
    made = {
        (f"heard-{name.removesuffix('_PASSWORD').lower()}", value)
        for name, value in COMPOSE["services"]["principals"]["environment"].items()
        if name.endswith("_PASSWORD")
    }
    assert used == made


def test_every_service_logs_in_as_the_one_that_is_made() -> None:
    urls = {
        service["environment"]["HEARD_DATABASE_URL"]
        for name, service in ours(COMPOSE).items()
        if name not in OWNERS and "HEARD_DATABASE_URL" in service["environment"]
    }
    made = COMPOSE["services"]["login"]["environment"]["SERVICE_PASSWORD"]
    assert urls == {f"postgresql://heard_service:{made}@postgres:5432/heard"}
    loops = [service for service in ours(COMPOSE).values() if service["command"][0] == "consume"]
    assert all("login" in service["depends_on"] for service in loops)


def test_who_publishes_has_neither_the_database_nor_the_keys() -> None:
    publish = COMPOSE["services"]["publish"]
    assert "HEARD_DATABASE_URL" not in publish["environment"]
    assert publish["volumes"] == []


def test_what_runs_for_ever_is_started_again_and_says_whether_it_is_well() -> None:
    for name, service in COMPOSE["services"].items():
        lasting = name in ("kafka", "postgres") or service.get("command", [""])[0] == "consume"
        assert (service.get("restart") == "unless-stopped", "healthcheck" in service) == (lasting, lasting)


def test_whatever_is_kept_lies_on_a_named_volume() -> None:
    named = {
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith("./")
    }
    assert named == set(COMPOSE["volumes"])


def test_the_image_runs_as_somebody_who_is_not_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_image_is_built_on_a_pinned_one_without_what_only_one_builder_knows() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base) for base in bases)
    assert len(set(bases)) == 1
    assert len(bases) == 2
    assert "--mount" not in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE


def pins(lock: str) -> dict[str, str]:
    """Each package with its version and hashes."""
    entries = re.findall(
        r"^([a-z0-9][a-z0-9.-]*)==(\S+).*((?:\n    --hash=\S+(?: \\)?)+)", lock, re.MULTILINE
    )
    return {name: f"{version} {' '.join(hashes.split())}" for name, version, hashes in entries}


def test_the_image_holds_the_versions_that_the_tests_ran_with() -> None:
    image, tested = pins(IMAGE_LOCK), pins(LOCK)
    assert len(image) > 40
    assert {name for name, pin in image.items() if tested.get(name) != pin} == set(), "next: make lock"
    assert "pytest" not in image


def test_nothing_but_the_program_is_sent_to_the_builder() -> None:
    first, *rest = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert first == "*"
    assert not any(".env" in line or "heard-data" in line for line in rest)


def test_no_password_that_make_up_has_made_can_be_committed() -> None:
    ignored = subprocess.run(["git", "check-ignore", ".env"], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout.split() == [".env"]


def test_a_password_that_an_earlier_env_lacks_is_added_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(TEXT)
    env = tmp_path / ".env"
    env.write_text("# ours\nPOSTGRES_PASSWORD=old")  # by hand, and without an end of the line

    def make() -> dict[str, str]:
        subprocess.run(["make", "--file", ROOT / "Makefile", ".env"], cwd=tmp_path, check=True)
        first, *lines = env.read_text().splitlines()
        assert first == "# ours"
        assert len(lines) == len(wanted)
        return dict(line.split("=") for line in lines)

    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    made = make()
    assert set(made) == wanted
    assert made.pop("POSTGRES_PASSWORD") == "old"
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made.values())
    assert len(set(made.values())) == len(made)
    assert make() == made | {"POSTGRES_PASSWORD": "old"}


@pytest.mark.parametrize("target", ["up", "down"])
def test_without_docker_make_says_what_is_missing_and_makes_nothing(target: str, tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make
    answer = subprocess.run(
        [make, "--file", ROOT / "Makefile", target],
        cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "found no docker" in answer.stderr
    assert "Next: install" in answer.stderr
    assert list(tmp_path.iterdir()) == []
