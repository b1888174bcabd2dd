"""What can a Docker engine give to tests? The servers of docker-compose.yml, if one answers here."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final

import yaml

from tests.support.requires import ROOT

PATIENCE: Final = 120.0
"""Seconds in which a server has to say that it is ready."""


def offers(service: str) -> bool:
    """Whether an engine answers that has the image of this service, or can fetch it."""
    if not _listens(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")):
        return False  # known without loading a library
    from docker.errors import DockerException  # type: ignore[import-untyped]
    from testcontainers.core.docker_client import DockerClient

    try:
        with closing(DockerClient(timeout=60).client) as engine:
            image = _service(service)["image"]
            if not engine.images.list(name=image):
                engine.images.pull(image)
    except (DockerException, OSError):
        return False
    return True


@contextmanager
def started(service: str, environment: Mapping[str, str], ports: Mapping[int, int]) -> Iterator[None]:
    """A container of this service's image, ready when the service's own health check says so.

    `ports` are those inside, each with the one of 127.0.0.1 that leads to it. Removed at the end with
    its data. RuntimeError, with what it wrote last, when it is not ready in time.
    """
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True  # it is one more image, and we remove what we start
    container = DockerContainer(_service(service)["image"], env=dict(environment))
    container.ports = {f"{inside}/tcp": ("127.0.0.1", outside) for inside, outside in ports.items()}  # type: ignore[misc]
    _, *check = _service(service)["healthcheck"]["test"]
    deadline = time.monotonic() + PATIENCE
    with container:
        while container.exec(check).exit_code != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(b"".join(container.get_logs())[-2000:].decode(errors="replace"))
            time.sleep(0.2)
        yield


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1 on which nothing listens."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _listens(address: str) -> bool:
    """Whether somebody takes connections on an engine's socket; of other kinds of address, True."""
    kind, _, path = address.partition("://")
    if kind != "unix":
        return True
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(path) == 0


def _service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]
    return found
