"""Settings of Postgres that are asked for hold, are on the record, and are named when they are wrong."""

from __future__ import annotations

import pytest

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.errors import ConfigurationError, StackError
from pytest_certload.stack import StackRequest, open_stack
from pytest_certload.stack.postgres import find_binaries, run_cluster
from pytest_certload.stack.prepare import finish
from pytest_certload.stack.processes import open_workspace

ASKED = {
    "shared_buffers": "48MB",
    "max_connections": "60",
    "random_page_cost": "1.5",
    "timezone": "Europe/Berlin",
}


def test_they_hold_and_are_on_the_record() -> None:
    with (
        open_workspace() as workspace,
        run_cluster(
            workspace, find_binaries(None), boot_timeout=60, announce=lambda _: None, settings=ASKED
        ) as cluster,
    ):
        _, settings = finish(cluster.dsn, ASKED)
        assert (
            settings.items()
            >= {
                "shared_buffers": "48MB",
                "max_connections": "60",
                "random_page_cost": "1.5",
                "TimeZone": "Europe/Berlin",
                # What nobody asked for is the stack's.
                "shared_preload_libraries": "pg_stat_statements",
            }.items()
        )
        assert "random_page_cost" not in finish(cluster.dsn)[1]
        cluster.child.stop()
        cluster.revive()
        assert finish(cluster.dsn, ASKED)[1] == settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shared_buffers", "some", r"invalid value for parameter .*shared_buffers"),
        ("share_buffers", "48MB", r"unrecognized configuration parameter .*share_buffers"),
    ],
)
def test_a_wrong_one_is_named(name: str, value: str, message: str) -> None:
    with open_workspace() as workspace, pytest.raises(StackError, match=message) as caught:
        with run_cluster(
            workspace,
            find_binaries(None),
            boot_timeout=60,
            announce=lambda _: None,
            settings={name: value},
        ):
            pytest.fail("Postgres started")
    assert f"It was started with --certload-postgres-setting {name}={value}." in str(caught.value)


def test_what_is_not_ours_is_not_set() -> None:
    request = StackRequest(
        provider="external", base_url="https://localhost:1", postgres_settings={"jit": "off"}
    )
    with pytest.raises(
        ConfigurationError, match=r"--certload-postgres-setting jit=off: .* external stack is not"
    ):
        with open_stack(request, PRODUCT, announce=lambda _: None):
            pytest.fail("it was opened")
