"""What was found beside the answers? Frozen records, the same for every report.

Times are seconds, sizes octets, shares go from 0 to 1, unless a name says otherwise. What cannot
be known is None, and ``missing`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "BacklogFinding",
    "BacklogMoment",
    "CheckFinding",
    "DatabaseFinding",
    "DatabaseMoment",
    "EffectsFinding",
    "ProcessFinding",
    "ProcessMoment",
    "Proof",
    "ProofRecord",
    "StateFinding",
    "StatementFinding",
    "TableFinding",
    "WaitFinding",
]


@dataclass(frozen=True, kw_only=True)
class StateFinding:
    """The state of the data that a load started from.

    Attributes:
        fingerprint: Twelve hex digits of the schema, and of how many rows each table has; None:
            nobody could look.
        rows: Rows of each table that was counted and has some.
        origin: Where the state comes from, such as ``template, cloned in 0.41 s``.
        cost: How long it took to look.
        missing: What could not be read or counted, and why.
    """

    fingerprint: str | None
    rows: Mapping[str, int]
    origin: str
    cost: float
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CheckFinding:
    """One check before the load.

    Attributes:
        name: What was checked, such as ``limiter``.
        passed: Whether it held.
        detail: What was found; of one that did not hold, what to do.
        seconds: How long it took.
    """

    name: str
    passed: bool
    detail: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EffectsFinding:
    """What acknowledged operations left behind.

    Attributes:
        name: What they are, such as ``renewal jobs``.
        acknowledged: How many the server acknowledged. Each key counts once; where state is
            overwritten, each operation.
        present: How many of these the database has, or showed at a reading.
        lost: How many of these it does not have, or did not show.
        unseen: How many of these no reading could tell, as the key's next operation came too soon.
        ambiguous: What the database has and nobody acknowledged: operations whose answer got lost.
        strangers: How many of the ambiguous nobody asked for either; None when that is not known.
        duplicated: Keys that the database has more than once.
        repeated: Keys that were acknowledged more than once; None where they may be.
        examples: Some that are lost, duplicated, repeated, unseen or ambiguous, a line each.
        waited: From the first answer until the database had everything, or until the limit.
        readings: How often the database was asked.
        cost: How long that took in all.
    """

    name: str
    acknowledged: int
    present: int
    lost: int
    unseen: int
    ambiguous: int
    strangers: int | None
    duplicated: int
    repeated: int | None
    examples: tuple[str, ...]
    waited: float
    readings: int
    cost: float


@dataclass(frozen=True, kw_only=True)
class BacklogMoment:
    """One reading of a backlog: when, counted from the begin of the load; wanted and done so far."""

    at: float
    wanted: int
    done: int


@dataclass(frozen=True, kw_only=True)
class BacklogFinding:
    """Work that the server does after it has answered, or that waits for it when the load begins.

    Attributes:
        name: What it is, such as ``audit rows``.
        wanted: How much there must be in the end.
        done: How much there was.
        peak: The most that was still to be done at a reading.
        caught_up: From the end of the load until all was done; None: not within the limit.
        limit: How long after the load the last of it was waited for.
        broken: What is wrong with what was done; None when nothing is, or nothing was looked at.
        moments: The readings.
        done_after: Of work that waited when the load began, when 50, 95 and 100 % of it were done, in
            seconds since then, as the first reading shows it that finds so much; None: none does. Empty
            for work that the load itself makes.
    """

    name: str
    wanted: int
    done: int
    peak: int
    caught_up: float | None
    limit: float
    broken: str | None
    moments: tuple[BacklogMoment, ...]
    done_after: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def waited(self) -> bool:
        """Whether all of it waited when the load began."""
        return bool(self.wanted and self.moments) and self.moments[0].wanted == self.wanted

    def when_done(self, percent: float) -> float | None:
        """Seconds from the begin of the load to the first reading with so much done; None: none has."""
        enough = self.wanted * percent / 100
        return next((m.at for m in self.moments if m.done >= enough), None) if enough else None

    @property
    def rate(self) -> float | None:
        """How much was done a second, until the first reading that shows the most; None: nothing was."""
        most = max((m.done for m in self.moments), default=0)
        at = next((m.at for m in self.moments if most and m.done == most), None)
        return most / at if at else None

    @property
    def fault(self) -> str | None:
        """Why the work does not count as done; None when it does."""
        if not self.wanted:
            return self.broken or "none was wanted, so nothing is proven"
        if self.done < self.wanted:
            lacking = (
                f"{self.wanted - self.done:,} of {self.wanted:,} are missing {self.limit:g} s "
                "after the load"
            )
            return f"{lacking}; {self.broken}" if self.broken else lacking
        return self.broken


@dataclass(frozen=True, kw_only=True)
class StatementFinding:
    """One statement's share of the load, from pg_stat_statements.

    Attributes:
        query: Its text with ``$1`` for constants, shortened.
        calls: How often it was run.
        seconds: In all.
        rows: Rows that it returned or changed.
        wal_bytes: Write-ahead log that it made.
    """

    query: str
    calls: int
    seconds: float
    rows: int
    wal_bytes: int


@dataclass(frozen=True, kw_only=True)
class TableFinding:
    """What became of one table.

    Attributes:
        name: With its schema, unless that is ``public``.
        inserted, updated, deleted: Rows.
        hot_share: Share of the updates that needed no index entry (heap-only tuples); None without.
        dead: Dead rows in the end.
        table_growth, index_growth: Octets.
    """

    name: str
    inserted: int
    updated: int
    deleted: int
    hot_share: float | None
    dead: int
    table_growth: int
    index_growth: int


@dataclass(frozen=True, kw_only=True)
class WaitFinding:
    """What connections waited for.

    Attributes:
        event: Such as ``Lock:tuple`` or ``LWLock:WALWrite``; ``CPU``: they waited for nothing.
        share: Of the active connections that were seen.
    """

    event: str
    share: float


@dataclass(frozen=True, kw_only=True)
class DatabaseMoment:
    """One look at the connections.

    Attributes:
        at: When, counted from the begin of the load.
        active: Connections at work.
        blocked: Of these, those that waited for a lock.
        wait: What most of the active ones waited for; None when none was active.
    """

    at: float
    active: int
    blocked: int
    wait: str | None


@dataclass(frozen=True, kw_only=True)
class DatabaseFinding:
    """What Postgres says of the load, the questions of this package left out.

    Attributes:
        seconds: From the reading before to the end of the load.
        settings: Twelve hex digits of all settings that are not the default.
        commits, rollbacks, deadlocks: Transactions.
        cache_hit_share: Share of the pages that were in its cache.
        read_bytes, written_bytes: By connections, from and to files (pg_stat_io, version 16).
        wal_bytes, wal_records, wal_full_pages: Write-ahead log.
        statements: Those that took most time, the longest first.
        statement_seconds: Time that all statements took together; None: nobody counted.
        tables: Those that changed, the most changed first.
        waits: What was waited for, the most frequent first.
        moments: Two looks at the connections a second.
        active_mean, active_peak, blocked_peak: Of these.
        cost: Time that Postgres worked for these readings.
        cost_share: The same, as a share of ``seconds``.
        missing: What could not be read, and why.
    """

    seconds: float
    settings: str | None
    commits: int | None
    rollbacks: int | None
    deadlocks: int | None
    cache_hit_share: float | None
    read_bytes: int | None
    written_bytes: int | None
    wal_bytes: int | None
    wal_records: int | None
    wal_full_pages: int | None
    statements: tuple[StatementFinding, ...]
    statement_seconds: float | None
    tables: tuple[TableFinding, ...]
    waits: tuple[WaitFinding, ...]
    moments: tuple[DatabaseMoment, ...]
    active_mean: float | None
    active_peak: int | None
    blocked_peak: int | None
    cost: float
    cost_share: float
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProcessMoment:
    """One reading: when, counted from the begin of the load; cores in use since the last; memory."""

    at: float
    cores: float
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class ProcessFinding:
    """What a part of the stack, or the generator, took of the machine.

    Attributes:
        name: ``server``, ``postgres`` or ``generator``.
        cpu_seconds: CPU time of all its processes.
        cores: The same a second: 1 is a whole core.
        memory_peak: Most resident memory that was seen.
        descriptors_peak: Most open descriptors that were seen.
        switches, forced_switches: Context switches that it wanted (to wait), and that it did not.
        died_at: When it ended, counted from the begin of the load; None: it lives.
        death: How, such as ``killed by SIGKILL``; None: it lives.
        events: What else befell it, such as a crash recovery of Postgres.
        moments: The readings.
        missing: What could not be read, and why.
    """

    name: str
    cpu_seconds: float | None
    cores: float | None
    memory_peak: int | None
    descriptors_peak: int | None
    switches: int | None
    forced_switches: int | None
    died_at: float | None
    death: str | None
    events: tuple[str, ...]
    moments: tuple[ProcessMoment, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProofRecord:
    """All that was found beside the answers of one load.

    Attributes:
        state: What it started from; None when nobody could look.
        preflight: The checks before it, in order.
        effects: What its operations left behind.
        backlogs: What the server did after answering.
        database: What Postgres says; None without a database.
        processes: What each part took of the machine.
        limit: Which part was the bottleneck, in words; None when that is not clear.
    """

    state: StateFinding | None = None
    preflight: tuple[CheckFinding, ...] = ()
    effects: tuple[EffectsFinding, ...] = ()
    backlogs: tuple[BacklogFinding, ...] = ()
    database: DatabaseFinding | None = None
    processes: tuple[ProcessFinding, ...] = ()
    limit: str | None = None


@dataclass(kw_only=True)
class Proof:
    """What has been found so far; see ``ProofRecord`` for the attributes."""

    state: StateFinding | None = None
    preflight: list[CheckFinding] = field(default_factory=list)
    effects: list[EffectsFinding] = field(default_factory=list)
    backlogs: list[BacklogFinding] = field(default_factory=list)
    database: DatabaseFinding | None = None
    processes: list[ProcessFinding] = field(default_factory=list)
    limit: str | None = None

    def record(self) -> ProofRecord:
        """The same, frozen."""
        return ProofRecord(
            state=self.state,
            preflight=tuple(self.preflight),
            effects=tuple(self.effects),
            backlogs=tuple(self.backlogs),
            database=self.database,
            processes=tuple(self.processes),
            limit=self.limit,
        )
