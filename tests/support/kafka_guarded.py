"""Where does a broker come from that asks for TLS, a password and rights? From an authority of our own."""

from __future__ import annotations

import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.kafka import Guard, available, broker
from tests.support.requires import absent

OWNER = "owner"
"""The principal that may do everything: it makes topics and gives rights."""

_PROPERTIES = """
sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={dir}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={dir}/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:owner;User:ANONYMOUS
"""


@dataclass(frozen=True)
class Guarded:
    """A broker that lets nobody in without a password, and nobody do what no right allows."""

    servers: str
    ca: Path
    """The certificate of the authority that signed the broker's."""
    other_ca: Path
    """That of an authority that the broker has nothing to do with."""
    users: dict[str, str]

    def env(self, user: str) -> dict[str, str]:
        """Settings with which the program speaks to it as `user`."""
        return {
            "HEARD_KAFKA_SERVERS": self.servers,
            "HEARD_KAFKA_USERNAME": user,
            "HEARD_KAFKA_PASSWORD": self.users[user],
            "HEARD_KAFKA_CA_FILE": str(self.ca),
            "HEARD_KAFKA_REPLICATION": "1",
        }


def token(user: str, *, seconds: int = 600) -> str:
    """A token of OAUTHBEARER for `user`, unsigned: the broker takes those while nobody tells it better."""
    now = int(datetime.now(UTC).timestamp())
    parts = ({"alg": "none"}, {"sub": user, "iat": now - 1_000, "exp": now + seconds})
    return ".".join(urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=") for part in parts) + "."


class Authority:
    """Signs certificates with a key that it alone has."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._certificate(self._name, self._key, ca=True)

    def issue(self, name: str) -> bytes:
        """A key and a certificate for it, of somebody on this machine, in one PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return (
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self._certificate(subject, key, ca=False)
        )  # fmt: skip

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = datetime.now(UTC)
        here = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(here), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def guarded(users: dict[str, str]) -> Iterator[Guarded]:
    """A new broker that knows these {user: password} and OWNER; ended at the end.

    Where none can be started the test is skipped with a message; in CI it fails.
    """
    if not available():
        absent("no Apache Kafka with TLS: install Java 17 and Maven")
    everybody = {OWNER: "owner-pass", **users}
    with tempfile.TemporaryDirectory(prefix="heard-kafka-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        ours, other = Authority("Heard's tests"), Authority("somebody else")
        (directory / "broker.pem").write_bytes(ours.issue("broker"))
        (directory / "ca.pem").write_bytes(ours.pem)
        (directory / "other.pem").write_bytes(other.pem)
        with broker(directory, Guard(everybody, _PROPERTIES.format(dir=directory))) as running:
            yield Guarded(
                f"127.0.0.1:{running.guarded}", directory / "ca.pem", directory / "other.pem", everybody
            )
