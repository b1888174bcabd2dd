"""How is a server put where it can be cut off? At the far end of a pair of virtual network cards.

The server runs in a network namespace of its own, and everybody else reaches it over the pair. A cut
takes the far card down: what is sent is lost without a word, as with a cable that was pulled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wire:
    """A way to one server: `inside` is what its command begins with, `host` where it listens."""

    name: str
    host: str

    @property
    def inside(self) -> list[str]:
        """What runs a command at the far end."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Let nothing through, in either direction."""
        _ip("-n", self.name, "link", "set", "far", "down")

    def heal(self) -> None:
        """Let everything through again."""
        _ip("-n", self.name, "link", "set", "far", "up")


def possible() -> bool:
    """Whether this user may make network namespaces here."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


@contextmanager
def wire(number: int) -> Iterator[Wire]:
    """A wire, gone at the end. `number`, below 60, tells those of one process from each other."""
    name = f"heard{os.getpid()}.{number}"
    near = f"h{os.getpid()}.{number}"
    # Of the range that is set aside for trying out networks (RFC 2544): four addresses for each.
    net, first = f"198.18.{os.getpid() % 256}", 4 * number
    _ip("netns", "add", name)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", name)
        _ip("addr", "add", f"{net}.{first + 1}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "addr", "add", f"{net}.{first + 2}/30", "dev", "far")
        _ip("-n", name, "link", "set", "lo", "up")
        made = Wire(name, f"{net}.{first + 2}")
        made.heal()
        yield made
    finally:
        _ip("netns", "delete", name)  # and the pair with it


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)
