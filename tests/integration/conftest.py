"""Where do the tests run that break what Heard stands on?"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support.site import Site, site


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    """The broker and the database of these tests."""
    with site() as made:
        yield made
    gc.collect()  # the last of those connections, while they may go
