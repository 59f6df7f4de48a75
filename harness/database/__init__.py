"""The one door to a SQL database that several workers write to."""

from harness.database.clock import now
from harness.database.engine import careful, connect, create_tables, options, reading, wal_is_sound
from harness.database.failures import passing, reached, unreachable
from harness.database.patience import Away, patiently
from harness.database.reader import in_memory, is_there, only_reads, reader, reading_options
from harness.database.rights import check_writable
from harness.database.tls import without_tls
from harness.database.url import address, place, shown

__all__ = [
    "Away", "address", "careful", "check_writable", "connect", "create_tables", "in_memory", "is_there", "now",
    "only_reads", "options", "passing", "patiently", "place", "reached", "reader", "reading", "reading_options",
    "shown", "unreachable", "wal_is_sound", "without_tls",
]  # fmt: skip
