"""On what does an acceptance test run? On the embedded default, and on Apache Kafka and PostgreSQL.

A test, or an example of one, that is only about the former says why: `@pytest.mark.embedded("why")`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.support.underneath import Servers, standing_on


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test, and each of its examples, on both but where it says why not."""
    items[:] = [each for each in items if not (_on_servers(each) and each.get_closest_marker("embedded"))]


def _on_servers(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("underneath") == "servers"


@pytest.fixture(scope="module", autouse=True, params=["embedded", "servers"])
def underneath(request: pytest.FixtureRequest) -> Iterator[Servers | None]:
    """The servers on which every installation stands, or None for the embedded default.

    A fixture that prepares an installation for several tests asks for it, and so prepares one on each;
    it is named by those tests, for what is first made within a test is gone when that ends.
    """
    if request.param == "embedded":
        yield None
        return
    kafka, postgresql = map(request.getfixturevalue, ("kafka_servers", "postgresql_server"))
    with standing_on(Servers(kafka, postgresql)) as servers:
        yield servers


@pytest.fixture(autouse=True)
def _of_one_test(underneath: Servers | None) -> Iterator[None]:
    with underneath.each_gone_afterwards() if underneath else nullcontext():
        yield
