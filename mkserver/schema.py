"""Tables, their versions, and the one door to the database.

SQLite in the data directory needs nothing to be set up; PostgreSQL comes by URL. One process owns the database, so
writers take a lock in it: that keeps them in order without SQLite's polling for its own lock, and loses no update.
Readers run beside a writer (WAL, https://www.sqlite.org/wal.html). Only what SQLAlchemy 1.4 and 2 share is used.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Callable

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from mkcore.errors import BadConfig, NotReady

metadata = sa.MetaData()

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("dialect", sa.String(16), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("contact_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("registered_ms", sa.BigInteger, nullable=True),
    sa.Column("last_state", sa.String(64), nullable=False),
    sa.Column("shown_state", sa.String(16), nullable=False),
    sa.Column("dhcp_mac", sa.String(64), nullable=True),
    sa.Column("address", sa.String(64), nullable=False, index=True),
    sa.Column("order_name", sa.String(16), nullable=False),
    sa.Column("order_ms", sa.BigInteger, nullable=False),
    sa.Column("binding", sa.String(16), nullable=False),
    sa.Column("binding_reached", sa.Boolean, nullable=False),
    sa.Column("checkins", sa.Integer, nullable=False),
    sa.Column("registrations", sa.Integer, nullable=False),
    sa.Column("boots", sa.Integer, nullable=False),
    sa.Column("sent_config", sa.Text, nullable=False),
    sa.Column("facts_digest", sa.String(64), nullable=False),
    sa.Column("facts_bytes", sa.Integer, nullable=False, index=True),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("search", sa.Text, nullable=False),
)

hardware_ids = sa.Table(
    "hardware_ids",
    metadata,
    sa.Column("hw_id", sa.String(80), primary_key=True),
    sa.Column("node_id", sa.String(32), sa.ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
)

node_facts = sa.Table(
    "node_facts",
    metadata,
    sa.Column("node_id", sa.String(32), sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("facts", sa.Text, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("node_id", sa.String(32), sa.ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(24), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
)

config_values = sa.Table(
    "config_values",
    metadata,
    sa.Column("scope", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))

Migration = Callable[[Connection], None]

MIGRATIONS: tuple[Migration, ...] = (metadata.create_all,)
"""Step n leads from version n to n + 1. Step 0 makes the tables; a later change adds a step with its statements."""


def migrate(connection: Connection, steps: tuple[Migration, ...] = MIGRATIONS) -> int:
    """Bring the database to the newest version and return it.

    Raises BadConfig when a newer program wrote it.
    """
    schema_version.create(connection, checkfirst=True)
    found = connection.execute(sa.select(schema_version.c.version)).scalar()
    version = int(found) if found is not None else 0
    if version > len(steps):
        raise BadConfig(f"database has version {version}, this mkserver knows up to {len(steps)}: use a newer mkserver")
    for step in steps[version:]:
        step(connection)
    connection.execute(sa.delete(schema_version))
    connection.execute(sa.insert(schema_version).values(version=len(steps)))
    return len(steps)


def _open_sqlite(engine: sa.engine.Engine) -> None:
    """Have SQLite wait, keep foreign keys, and start transactions when we say so instead of at the first write."""

    def on_connect(connection: Any, _record: Any) -> None:
        """Set a new connection up."""
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    def on_begin(connection: Connection) -> None:
        """Start a transaction that writes as a writer, so that two of them wait for each other at its start."""
        immediate = connection.get_execution_options().get("mk_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    sa_event.listen(engine, "connect", on_connect)
    sa_event.listen(engine, "begin", on_begin)


class Database:
    """Transactions on the server's database; any number of threads."""

    def __init__(self, url: str) -> None:
        """Open, and make or migrate, the database at a SQLAlchemy URL.

        Raises BadConfig (URL, driver, version) and NotReady (cannot be opened or written).
        """
        try:
            self._engine = sa.create_engine(url, future=True, pool_pre_ping=not url.startswith("sqlite"))
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise BadConfig(f"database URL: {str(error).splitlines()[0]}") from error
        if self._engine.dialect.name == "sqlite":
            _open_sqlite(self._engine)
        self._writing = self._engine.execution_options(mk_write=True)
        self._lock = threading.Lock()
        with self.write() as connection:
            migrate(connection)

    @contextmanager
    def read(self) -> Generator[Connection, None, None]:
        """One snapshot for reading. Raises NotReady when the database does not answer."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise NotReady(f"database: {_first_line(error)}") from error

    @contextmanager
    def write(self) -> Generator[Connection, None, None]:
        """One transaction, committed at the end of the block, rolled back when it raises; one at a time."""
        try:
            with self._lock, self._writing.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise NotReady(f"database: {_first_line(error)}") from error

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig) or type(error).__name__).splitlines()[0]
