"""Which fixtures does every test have at hand?"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.support.kafka import kafka_servers
from tests.support.postgres import postgresql, postgresql_server
from tests.support.told import pytest_terminal_summary

# How quickly examples are drawn says something of the machine, and nothing of Heard.
settings.register_profile("heard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heard")

__all__ = ["kafka_servers", "postgresql", "postgresql_server", "pytest_terminal_summary"]
