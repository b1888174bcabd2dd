"""How does the `Log` port work without a server, in one SQLite file?

The embedded default: the same loops run over it as over Kafka. Positions rule in the databases of
the readers, so records are kept; only compaction and redaction take anything away.
"""

from infra.local_log.bodies import BodyKeys
from infra.local_log.log import LocalLog

__all__ = ["BodyKeys", "LocalLog"]
