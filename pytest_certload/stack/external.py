"""May the server that runs already be loaded, and is its database what the scenarios need?

Nothing is started and nothing is stopped.  The seeds are applied only when the database says of itself
that it is for load tests, or the options say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_certload.database import Database, run_sync
from pytest_certload.errors import ConfigurationError, SeedError, StackError

from .hosts import check_base_url, check_host
from .model import Endpoint, Part, ProductSpec, SeedFile, Stack, StackRequest, cpu_count
from .prepare import finish, is_marked, mark_statement
from .seed import Seed, apply_seed, read_seed, verify_seed
from .server import check_token, get, identify
from .settings import refuse_settings

__all__ = ["open_external"]


@contextmanager
def open_external(
    request: StackRequest,
    product: ProductSpec,
    *,
    reason: str,
    announce: Callable[[str], None],
) -> Iterator[Stack]:
    """Use a server that runs already; see ``open_stack``.

    With a DSN, what happens to the database depends on it:

    ==========================================  ===================================================
    marked (its comment starts with certload)   the seeds are applied
    ``allow_seed``                              the seeds are applied
    neither, but every declared row count holds the seeds are left alone: it is seeded already.  The
                                                load still writes, and a scenario sets back what the
                                                seeds made: its agents, certificates and their jobs.
    neither                                     ``SeedError`` with the statement that marks it
    ==========================================  ===================================================

    Without a DSN nothing is seeded and nothing is looked at.

    Raises:
        ConfigurationError: The base URL, the DSN or the CA file cannot be used, or a host is
            not allowed.
        StackError: The server or the database cannot be reached or trusted, refuses the token
            or the password, or is too old.
        SeedError: The database is not marked and not seeded, or the seeds cannot be applied.
    """
    refuse_settings(request.postgres_settings)
    if request.base_url is None:
        raise ConfigurationError("--certload-stack external needs --certload-base-url")
    base_url = check_base_url(request.base_url)
    check_host(base_url, request.allow_hosts)
    if request.dsn is not None:
        check_host(request.dsn, request.allow_hosts, name="--certload-dsn")
    endpoint = Endpoint(base_url=base_url, ca_path=request.ca_path, token=request.token)
    announce(f"checking {base_url}")
    identity = identify(endpoint, product)
    ready = get(endpoint, product.ready_path)
    if ready.status != 200:
        raise StackError(
            f"{base_url} is not ready: {product.ready_path} answers {ready.status}; "
            "look into the server's log."
        )
    check_token(endpoint, product)
    applied: tuple[SeedFile, ...] = ()
    postgres: str | None = None
    settings: dict[str, str] = {}
    if request.dsn is not None:
        seeds = read_seed(request.seed_dir or product.seed_dir)
        applied = run_sync(_seed(request.dsn, seeds, request.allow_seed, announce))
        postgres, settings = finish(request.dsn)
    yield Stack(
        provider="external",
        reason=reason,
        endpoint=endpoint,
        dsn=request.dsn,
        server=identity.server,
        is_reference=identity.is_reference,
        image=None,
        postgres=postgres,
        postgres_settings=settings,
        cpu_count=cpu_count(),
        seeds=applied,
        find_parts=lambda: (Part(name="server"), Part(name="postgres")),
    )


async def _seed(
    dsn: str, seeds: tuple[Seed, ...], allow_seed: bool, announce: Callable[[str], None]
) -> tuple[SeedFile, ...]:
    async with Database.connect(dsn) as database:
        if allow_seed or await is_marked(database):
            applied = await apply_seed(database, seeds)
            announce(f"seeded: {sum(seed.rows_changed for seed in applied)} rows")
            return applied
        try:
            # A seed without any declared row count cannot be known to be there.
            if any(seed.expectations for seed in seeds):
                applied = await verify_seed(database, seeds)
                announce("the database is seeded already and not marked; the seeds are left alone")
                return applied
            problem = "the seeds declare no row count to recognise them by"
        except SeedError as error:
            problem = str(error)
        name = str(await database.fetchval("SELECT current_database()"))
        raise SeedError(
            f"The database {name} is neither seeded ({problem}) nor marked as one for load tests. "
            f"If it is one, run {mark_statement(name)}; or add --certload-allow-seed."
        )
