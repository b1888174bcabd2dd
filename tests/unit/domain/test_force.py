"""Which times does a force owe things in, and which version of its settings is it?"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from domain.force import Force, Registered, SettingsChanged
from tests.support.given import given, nothing

REGISTERED = Registered(ref="met", name="Metropolitan Police")
QUICKER = SettingsChanged(ref="met", acknowledge_hours=24)


def test_a_force_is_registered_once() -> None:
    given().when(REGISTERED).then(REGISTERED)
    given(REGISTERED).when(REGISTERED).then("one_reference_one_thing")


def test_settings_that_are_as_they_were_are_no_fact() -> None:
    given(REGISTERED).when(QUICKER).then(QUICKER)
    given(REGISTERED, QUICKER).when(QUICKER).then(nothing)
    given(REGISTERED).when(SettingsChanged(ref="met", acknowledge_hours=72)).then(nothing)
    given(REGISTERED).when(SettingsChanged(ref="met")).then(nothing)


def test_what_a_change_leaves_out_keeps_its_value() -> None:
    slower = SettingsChanged(ref="met", decide_days=56)
    assert given(REGISTERED, QUICKER, slower).state == Force(version=3, acknowledge_hours=24, decide_days=56)


def test_a_force_that_set_nothing_owes_by_the_defaults() -> None:
    assert given(REGISTERED).state == Force(version=1)
    assert Force() == Force(
        version=0, time_zone="Europe/London", acknowledge_hours=72, decide_days=28, tell_days=14,
        referral_days=28, measure_days=90, review_months=3,
    )  # fmt: skip


def test_a_time_zone_is_one_that_the_world_knows() -> None:
    assert Registered(ref="met", name="x", time_zone="Europe/Paris").time_zone == "Europe/Paris"
    with pytest.raises(ValidationError):
        Registered(ref="met", name="x", time_zone="Europe/Ankh-Morpork")
