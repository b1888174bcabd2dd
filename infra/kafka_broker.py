"""Where is Apache Kafka, who are we there, and what do its errors mean to us?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider

from domain.errors import ConfigurationError, FencedError, HeardError, TransientError

_Client = TypeVar("_Client")

TRIES: Final = (2.0, 1.5)
"""Seconds in which a broker has to answer at first, try by try: who is refused hears so after the first.

The library itself would go on until its time is over, and who is refused is to hear so within five, of
which more than one goes for the start of the program.
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where Kafka is, and how to prove who we are. `prefix` is put before every topic and group."""

    servers: str
    security_protocol: str
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = None
    token_file: str | None = None
    """Holds the token of OAUTHBEARER, and is read again for every connection."""
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    prefix: str = ""
    session_ms: int = 10_000
    skip_deleted: bool = False
    """Whether to go on behind what retention deleted before it was read."""

    def __repr__(self) -> str:
        return f"Broker({self.servers}, {self.security_protocol}, {self.username})"

    def client(self) -> dict[str, Any]:
        """The options that every client of kafka-python takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers.split(","),
            "security_protocol": self.security_protocol,
            # The library's back-off grows to 30 s: a broker that is back would be noticed late.
            "reconnect_backoff_max_ms": 1_000,
            "ssl_cafile": self.ca_file,
            "ssl_certfile": self.certificate_file,
            "ssl_keyfile": self.key_file,
        }
        if self.sasl_mechanism == "OAUTHBEARER":
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_oauth_token_provider": TokenFile(Path(self.token_file or "")),
            }
        elif self.sasl_mechanism:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options

    def opened(self, kind: Callable[..., _Client], **options: Any) -> _Client:
        """A new client of this kind. One that cannot be opened leaves nothing behind."""
        told = Reasons()
        *first, last = TRIES
        for seconds in first:
            with suppress(TransientError):
                return self._opened(kind, seconds, told, options)
        return self._opened(kind, last, told, options)

    def _opened(
        self, kind: Callable[..., _Client], seconds: float, told: Reasons, options: dict[str, Any]
    ) -> _Client:
        made: list[_Connections] = []

        def net(**given: Any) -> KafkaNetClient:
            made.append(_Connections(**given))
            return made[-1]

        options = options | {"bootstrap_timeout_ms": int(seconds * 1000), "kafka_client": net}
        try:
            with our_errors(self, told):
                return kind(**self.client() | options)
        except BaseException:
            # The library's own thread and its sockets would go on for ever, a set of them for each attempt.
            for each in made:
                each.close()
            raise

    @property
    def principal(self) -> str:
        """What to call ourselves in a message."""
        return self.username or "this principal"


class _Connections(KafkaNetClient):  # type: ignore[misc]
    """The library's connections, but for what it tells a producer of a broker that is away."""

    def await_ready(self, node_id: int | str, timeout_ms: int = 30_000) -> bool:
        """Whether it takes requests by now.

        The library raises instead. A producer whose transaction begins just then forgets for ever what it
        was about to ask, and waits for the answer until the records' time is over, at full speed.
        """
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except kafka_errors.KafkaConnectionError:
            return False


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """The token that somebody else renews: a file that the platform keeps up to date."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.token()  # asked for later, by its own thread, the library would tell nobody what is wrong

    def token(self) -> str:
        """What the file holds now."""
        return self._path.read_text(encoding="ascii").strip()


_FENCED: Final = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.CommitFailedError,
    kafka_errors.FencedInstanceIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
)


def said(error: Exception) -> tuple[Any, ...]:
    """An error of the library's, and what it wraps: what went wrong before, and made this impossible."""
    return (error, *error.args)


def fences(error: Exception) -> bool:
    """Whether the library says so that another process has the role."""
    return any(isinstance(each, _FENCED) for each in said(error))


class Reasons(logging.Handler):
    """Remembers why connections failed: the library tells its log, and its caller only of a time-out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.all = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is said, as far as it is of use."""
        self.all = f"{self.all[-10_000:]}\n{record.getMessage()}"


@contextmanager
def our_errors(broker: Broker, opening: Reasons | None = None) -> Iterator[None]:
    """Make the library's exceptions ours: what may be retried, and what must not be.

    `opening`: what earlier tries were told, while it is still to be proved who we are.
    """
    reasons = opening or Reasons()
    logger = logging.getLogger("kafka")
    logger.addHandler(reasons)
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise _ours(broker, error, reasons.all, opening is not None) from error
    except OSError as error:
        raise ConfigurationError(
            "a file that is to prove who we are, or who the broker is, cannot be used",
            expected="certificates and keys in PEM, a token in a file", got=error.strerror or str(error),
            hint="look at HEARD_KAFKA_CA_FILE and the other files of the connection",
        ) from error  # fmt: skip
    finally:
        logger.removeHandler(reasons)


def _ours(broker: Broker, error: Exception, reasons: str, opening: bool) -> HeardError:
    if fences(error):
        return lost(f"was fenced: {type(error).__name__}")
    for each in said(error):
        if isinstance(each, kafka_errors.AuthorizationError):
            return ConfigurationError(
                f"the broker does not allow {broker.principal} to do this",
                expected="rights on Heard's topics, groups and transactional ids", got=str(each),
                hint="give the principal the right: `heard topics rights` lists them",
            )  # fmt: skip
    text = f"{reasons} {type(error).__name__}: {error}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return ConfigurationError(
            "the broker's certificate is not trusted", expected="a certificate of the given authority",
            got="another one", hint="set HEARD_KAFKA_CA_FILE to the authority's certificate",
        )  # fmt: skip
    # A broker says no and hangs up at once: of the two the library may see the second only. Later on it
    # is a broker that went away.
    hung_up = opening and text.count("Connection lost: KafkaConnectionError: socket disconnected") > 2
    if "SaslAuthenticationFailed" in text or (
        broker.sasl_mechanism and hung_up and "refused" not in text.lower()
    ):
        proof = "token" if broker.token_file else "password"
        return ConfigurationError(
            f"the broker refused the {proof} of {broker.principal}", expected=f"the principal's {proof}",
            got="another one",
            hint="set HEARD_KAFKA_TOKEN_FILE" if broker.token_file
            else "set HEARD_KAFKA_USERNAME and HEARD_KAFKA_PASSWORD",
        )  # fmt: skip
    return TransientError(
        f"the broker at {broker.servers} does not answer", expected="an answer",
        got="connections are refused" if "refused" in text.lower() else type(error).__name__,
        hint="start it, or set HEARD_KAFKA_SERVERS and who we are there; a loop tries again by itself",
    )  # fmt: skip


def lost(why: str) -> FencedError:
    """The error of a process that another has taken over from."""
    return FencedError(
        f"this process {why}", expected="to hold the role", got="another process has it",
        hint="nothing was written; it tries to take the role again",
    )  # fmt: skip
