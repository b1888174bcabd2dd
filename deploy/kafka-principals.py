"""Who may speak to the broker? A SCRAM user for each variable `<SERVICE>_PASSWORD`, set anew each time.

Run by whoever administers the brokers, with the settings of the program (`HEARD_KAFKA_…`) for where
they are and who that is. What each user may do then says `heard topics rights`.
"""

import os

from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from domain.errors import HeardError
from infra.kafka_broker import our_errors
from infra.kafka_rights import RIGHTS
from infra.settings import read_settings

passwords = {service: os.environ.get(f"{service.upper()}_PASSWORD") for service in RIGHTS}
try:
    broker = read_settings().broker()
    users = [
        UserScramCredentialUpsertion(
            f"{broker.prefix}heard-{service}", ScramMechanism.SCRAM_SHA_512, password
        )
        for service, password in passwords.items()
        if password
    ]
    with our_errors(broker):
        admin = broker.opened(KafkaAdminClient)
        failed = admin.alter_user_scram_credentials(users)
        admin.close()
except HeardError as error:
    raise SystemExit(f"{error}; next: {error.hint}") from error
if any(failed.values()):
    raise SystemExit(f"the broker did not take {failed}")
