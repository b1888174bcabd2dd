"""Which settings are there, and what does each mean? Read from `HEARD_*` in the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumers.parked import MOST
from domain.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.kafka_broker import Broker


class Settings(BaseSettings):
    """Every setting, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="HEARD_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    dir: Path = Path("heard-data")
    """The data directory of the embedded default."""
    database_url: SecretStr | None = None
    """postgresql://… for event store and read models; without it, SQLite files in `dir`."""
    id_key: SecretStr | None = None
    """64 hex digits for the id key of a new installation; without it, a random one."""
    batch: int = Field(default=MOST, ge=1, le=MOST)
    """How many records a loop takes at once: more is faster, less is sooner visible to others."""
    dead_letters_ceiling: int = Field(default=10_000, ge=1)
    """How many messages of one source may become dead letters in an hour; what more cannot be used waits."""
    kafka_servers: str | None = None
    """host:port,… of the Kafka cluster; without it, the local log in `dir`."""
    kafka_security_protocol: str = Field(
        default="SASL_SSL", pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$"
    )
    """How to speak to the cluster. Anything but SSL and SASL_SSL is for a machine of your own."""
    kafka_sasl_mechanism: str = Field(
        default="SCRAM-SHA-512", pattern="^(SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER)$"
    )
    """How to prove who we are, where the protocol asks for it."""
    kafka_username: str | None = None
    """The principal: one for each service."""
    kafka_password: SecretStr | None = None
    """The principal's password."""
    kafka_token_file: Path | None = None
    """The file that holds the token of OAUTHBEARER, and that somebody else keeps up to date."""
    kafka_ca_file: Path | None = None
    """The certificate of the authority that signed the brokers' certificates (PEM)."""
    kafka_session_ms: int = Field(default=10_000, ge=1_000, le=300_000)
    """After how many milliseconds of silence a process counts as gone and others take its partitions."""
    kafka_certificate_file: Path | None = None
    """Our own certificate (PEM), where the brokers ask for one."""
    kafka_key_file: Path | None = None
    """The key of our own certificate (PEM)."""
    kafka_prefix: str = Field(default="", pattern=r"^[a-z0-9._-]{0,64}$")
    """Put before the name of every topic, group and transaction: several installations on one cluster."""
    kafka_skip_deleted: bool = False
    """Go on behind what retention deleted before it was read, and is lost; else a consumer stops there."""
    kafka_replication: int = Field(default=3, ge=1, le=9)
    """On how many brokers `heard topics create` puts each partition."""
    disk_free: int = Field(default=1_000, ge=0)
    """Megabytes that have to be free where the data directory lies, else `heard doctor` complains."""
    watchdog: int = Field(default=300, ge=1, le=1_000_000)
    """After how many seconds in which none of its loops comes on a process ends itself."""
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Where `consume` serves /metrics and /healthz; without it, nowhere."""
    metrics_address: str = "127.0.0.1"
    """The address of that port: whoever reaches it reads the metrics."""
    otlp_endpoint: str | None = Field(default=None, pattern="^https?://")
    """http(s)://host:port of an OpenTelemetry collector (OTLP over HTTP); without it, no traces."""
    otlp_share: float = Field(default=1.0, ge=0.0, le=1.0)
    """The share of all messages whose traces are recorded."""
    log_format: str = Field(default="console", pattern="^(console|json)$")
    """How log lines are written on standard error: console or json."""
    log_level: str = Field(default="warning", pattern="^(debug|info|warning|error)$")
    """The least level that is logged."""

    @field_validator("dir", mode="before")
    @classmethod
    def _somewhere(cls, given: object) -> object:
        if given == "":
            raise ValueError("a folder; an empty name would be the current one")
        return given

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        sasl = self.kafka_servers is not None and self.kafka_security_protocol.startswith("SASL")
        if sasl and self.kafka_sasl_mechanism == "OAUTHBEARER":
            if self.kafka_token_file is None:
                raise ValueError("OAUTHBEARER wants HEARD_KAFKA_TOKEN_FILE")
        elif sasl and None in (self.kafka_username, self.kafka_password):
            raise ValueError("SASL wants HEARD_KAFKA_USERNAME and HEARD_KAFKA_PASSWORD")
        if (self.kafka_certificate_file is None) != (self.kafka_key_file is None):
            raise ValueError("HEARD_KAFKA_CERTIFICATE_FILE and HEARD_KAFKA_KEY_FILE want each other")
        return self

    def id_key_bytes(self) -> bytes | None:
        """The id key as 32 bytes. ConfigurationError if it is not one."""
        if self.id_key is None:
            return None
        try:
            key = bytes.fromhex(self.id_key.get_secret_value())
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ConfigurationError(
                "HEARD_ID_KEY is not a key", expected="64 hex digits", got="something else",
                hint="leave it unset: a new installation makes its own",
            )  # fmt: skip
        return key

    def broker(self) -> Broker:
        """Where Kafka is and who we are there; `kafka_servers` must be given."""
        from infra.kafka_broker import Broker

        sasl = self.kafka_security_protocol.startswith("SASL")
        return Broker(
            servers=self.kafka_servers or "",
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism if sasl else None,
            username=self.kafka_username,
            password=self.kafka_password.get_secret_value() if self.kafka_password else None,
            token_file=_text(self.kafka_token_file),
            ca_file=_text(self.kafka_ca_file),
            certificate_file=_text(self.kafka_certificate_file),
            key_file=_text(self.kafka_key_file),
            prefix=self.kafka_prefix,
            session_ms=self.kafka_session_ms,
            skip_deleted=self.kafka_skip_deleted,
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def read_settings(**given: object) -> Settings:
    """The settings, those given first. ConfigurationError names what does not fit."""
    known = {f"HEARD_{field.upper()}" for field in Settings.model_fields} | {"HEARD_FAULT"}
    for name in sorted(os.environ):
        if name.startswith("HEARD_") and name not in known and not name.startswith("HEARD_TEST_"):
            raise ConfigurationError(
                f"there is no setting {name}", expected="a setting of docs/reference.md", got=name,
                hint=f"unset {name}",
            )  # fmt: skip
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        expected = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise ConfigurationError(
                "the settings do not fit together", expected=expected, got="one without the other",
                hint="set both, or unset what asks for them: docs/reference.md",
            ) from None  # fmt: skip
        name = "HEARD_" + "_".join(str(part) for part in first["loc"]).upper()
        hint = f"set or unset {name}"
        if first["loc"] == ("dir",) and given.get("dir") is not None:
            name, hint = "--dir", "heard --dir FOLDER, or no --dir for HEARD_DIR"
        raise ConfigurationError(
            f"the setting {name} cannot be used", expected=expected, got="something else", hint=hint
        ) from None
