"""What are the errors of the library taken for: does a broker refuse us, is it away, has another the role?"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import errors as kafka_errors

from domain.errors import ConfigurationError, FencedError, HeardError, TransientError
from infra.kafka_broker import Broker, Reasons, our_errors

BROKER = Broker("127.0.0.1:1", "SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512", username="heard")


def hang_up(times: int) -> None:
    """Lose the connection so often, as the library tells its log of it, and its caller of a time-out."""
    for _ in range(times):
        logging.getLogger("kafka").warning("Connection lost: KafkaConnectionError: socket disconnected")
    raise kafka_errors.KafkaTimeoutError("no answer")


@pytest.mark.parametrize(
    ("opening", "taken_for"), [(Reasons(), ConfigurationError), (None, TransientError)], ids=["then", "later"]
)
def test_who_hangs_up_while_we_prove_who_we_are_refuses_us_and_later_is_away(
    opening: Reasons | None, taken_for: type[HeardError]
) -> None:
    with pytest.raises(taken_for), our_errors(BROKER, opening):
        hang_up(3)


@pytest.mark.parametrize(
    ("in_each_try", "taken_for"),
    [([3], ConfigurationError), ([2, 1], ConfigurationError), ([1, 1], TransientError)],
)
def test_who_hangs_up_is_counted_over_all_tries(in_each_try: list[int], taken_for: type[HeardError]) -> None:
    left = list(in_each_try)

    def client(**_: Any) -> None:
        hang_up(left.pop(0))

    with pytest.raises(taken_for):
        BROKER.opened(client)
    assert left == []


def test_a_file_that_is_to_prove_who_we_are_and_is_not_there_is_to_be_put_there(tmp_path: Path) -> None:
    broker = replace(BROKER, sasl_mechanism="OAUTHBEARER", token_file=str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match="a file that is to prove who we are"):
        broker.opened(dict)


@pytest.mark.parametrize(
    ("first", "taken_for"),
    [
        (kafka_errors.ProducerFencedError(), FencedError),
        (kafka_errors.TransactionalIdAuthorizationFailedError(), ConfigurationError),
        (kafka_errors.NotLeaderForPartitionError(), TransientError),
    ],
)
def test_what_went_wrong_before_counts_where_the_library_wraps_it(
    first: Exception, taken_for: type[HeardError]
) -> None:
    with pytest.raises(taken_for), our_errors(BROKER):
        raise kafka_errors.KafkaError("Cannot perform send because a previous request has failed", first)
