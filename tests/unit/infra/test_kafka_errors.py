"""What is a broker taken for that hangs up: one that refuses who we are, or one that went away?"""

from __future__ import annotations

import logging

import pytest
from kafka import errors as kafka_errors

from domain.errors import ConfigurationError, HeardError, TransientError
from infra.kafka_broker import Broker, our_errors

BROKER = Broker("127.0.0.1:1", "SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512", username="heard")


def hung_up_on(opening: bool) -> None:
    """Three lost connections, as the library tells its log of them, and its caller of a time-out."""
    with our_errors(BROKER, opening=opening):
        for _ in range(3):
            logging.getLogger("kafka").warning("Connection lost: KafkaConnectionError: socket disconnected")
        raise kafka_errors.KafkaTimeoutError("no answer")


@pytest.mark.parametrize(("opening", "taken_for"), [(True, ConfigurationError), (False, TransientError)])
def test_who_hangs_up_while_we_prove_who_we_are_refuses_us_and_later_is_away(
    opening: bool, taken_for: type[HeardError]
) -> None:
    with pytest.raises(taken_for):
        hung_up_on(opening)
