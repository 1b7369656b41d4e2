"""A product of one's own: the guide's example, with a server that is nobody's but this test's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.stack import StackRequest
from pytest_certload.stack.containers import why_not_docker
from pytest_certload.stack.containers.daemon import connect
from pytest_certload.stack.containers.images import build_reference_image
from tests.inner.fixture import unhurried

__all__ = ["unhurried"]

POSTGRES = "certload-postgres:15"
GUIDE = Path(__file__).parents[2] / "docs" / "writing-load-tests.md"
SERVER = """
import argparse
import asyncio
import os
import socket

import asyncpg
from aiohttp import web

parser = argparse.ArgumentParser()
parser.add_argument("command", nargs="?")
parser.add_argument("--fd", type=int)
arguments = parser.parse_args()


async def migrate():
    connection = await asyncpg.connect(os.environ["SHOP_DATABASE"])
    await connection.execute("CREATE TABLE goods (id serial PRIMARY KEY, name text)")
    await connection.execute(
        "CREATE TABLE orders (id serial PRIMARY KEY, goods int REFERENCES goods)"
    )
    await connection.close()


async def app():
    pool = await asyncpg.create_pool(os.environ["SHOP_DATABASE"])

    async def ready(request):
        return web.Response()

    async def order(request):
        if request.headers.get("Authorization") != f"Bearer {os.environ['SHOP_TOKEN']}":
            return web.Response(status=401)
        goods = (await request.json())["goods"]
        number = await pool.fetchval("INSERT INTO orders (goods) VALUES ($1) RETURNING id", goods)
        if number == 7 and "SHOP_FORGETS" in os.environ:
            await pool.execute("DELETE FROM orders WHERE id = 7")
        return web.json_response({"id": number}, status=201)

    app = web.Application()
    app.add_routes([web.get("/ready", ready), web.post("/orders", order)])
    return app


if arguments.command == "migrate":
    asyncio.run(migrate())
elif arguments.fd is not None:
    web.run_app(app(), sock=socket.socket(fileno=arguments.fd))
else:
    host, _, port = os.environ["SHOP_LISTEN"].partition(":")
    web.run_app(app(), host=host, port=int(port))
"""
#: What has aiohttp and asyncpg.
DOCKERFILE = """
FROM {base}
COPY shop_server.py /app/
ENTRYPOINT ["/opt/certload/venv/bin/python", "/app/shop_server.py"]
"""


def example(name: str) -> str:
    (found,) = re.findall(
        rf"<!-- example: {name} -->\n```\w+\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL
    )
    return str(found)


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makeconftest(example("product"))
    pytester.makepyfile(test_shop=example("product-test"), shop_server=SERVER)
    pytester.mkdir("seed").joinpath("1_goods.sql").write_text(example("goods"))
    return pytester


def run(pytester: pytest.Pytester, *more: str, stack: str = "embedded") -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        *("-m", "scale", f"--certload-stack={stack}", "--certload-duration=1s", *more)
    )


@pytest.fixture
def image(shop: pytest.Pytester) -> Iterator[str]:
    """The shop's server as an image."""
    request = StackRequest(server_image="reference", postgres_image=POSTGRES)
    missing = why_not_docker(request, PRODUCT)
    if missing is not None:
        pytest.skip(missing)
    with connect(60) as client:
        base, _ = build_reference_image(client, PRODUCT, announce=print)
        (shop.path / "Dockerfile").write_text(DOCKERFILE.format(base=base))
        name = f"certload-test-shop:{os.getpid()}"
        client.images.build(path=str(shop.path), tag=name, rm=True, forcerm=True)
        try:
            yield name
        finally:
            client.images.remove(name, force=True)


def test_runs_in_containers(
    shop: pytest.Pytester, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    monkeypatch.setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
    result = run(
        shop,
        f"--certload-server-image={image}",
        f"--certload-postgres-image={POSTGRES}",
        stack="docker",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["certload: ready on the docker stack: shop*", "*orders lost == 0 (0 of 50 acknowledged)*"]
    )


def test_is_started_seeded_loaded_and_proven(shop: pytest.Pytester) -> None:
    result = run(shop)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "certload: ready on the embedded stack: shop*",
            "*orders lost == 0 (0 of 50 acknowledged)*",
        ]
    )


def test_that_forgets_is_found_out(shop: pytest.Pytester) -> None:
    result = run(shop, "--certload-server-env=SHOP_FORGETS=1", "--certload-effects-limit=1s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 of 50 acknowledged orders are not in the database*"])


def test_whose_seeds_make_the_schema_needs_no_migration(shop: pytest.Pytester) -> None:
    conftest = shop.path / "conftest.py"
    conftest.write_text(
        conftest.read_text().replace('        migrate_arguments=("migrate",),\n', "")
    )
    schema = "CREATE TABLE goods (id serial PRIMARY KEY, name text);\n"
    schema += "CREATE TABLE orders (id serial PRIMARY KEY, goods int REFERENCES goods);\n"
    (shop.path / "seed" / "0_schema.sql").write_text(schema)
    run(shop).assert_outcomes(passed=1)


def test_that_speaks_no_tls_must_say_so(shop: pytest.Pytester) -> None:
    conftest = shop.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("        tls=False,\n", ""))
    result = run(shop)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "No TLS connection to https://127.0.0.1:*; if the server speaks plain HTTP, say tls=False in its*"
        ]
    )
    assert "--certload-base-url" not in result.stdout.str()


def test_whose_module_pytest_does_not_find(shop: pytest.Pytester) -> None:
    (shop.path / "shop_server.py").rename(shop.path / "elsewhere.py")
    result = run(shop)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*reference_module='shop_server'*of shop: pytest finds no shop_server; *"]
    )


def test_whose_module_lies_in_a_folder_that_pytest_is_told_of(shop: pytest.Pytester) -> None:
    server = shop.path / "server"
    server.mkdir()
    (shop.path / "shop_server.py").rename(server / "shop_server.py")
    ini = "[pytest]\nasyncio_default_fixture_loop_scope = function\npythonpath = server\n"
    (shop.path / "tox.ini").write_text(ini)
    run(shop).assert_outcomes(passed=1)


def test_without_a_server_in_python_says_where_it_runs(shop: pytest.Pytester) -> None:
    conftest = shop.path / "conftest.py"
    text = conftest.read_text().replace('        reference_module="shop_server",\n', "")
    conftest.write_text(text)
    result = run(shop)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*shop has no server that runs without containers; choose --certload-stack docker or external."
        ]
    )
