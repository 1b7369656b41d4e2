"""The reference server's page names all that can be switched, and its example works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.certctl.reference import config, faults

if TYPE_CHECKING:
    from .conftest import Bench

ROOT = Path(__file__).parents[2]
FAULTS_PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
PAGE = (ROOT / "docs" / "reference-server.md").read_text("utf-8")


def test_every_fault_stands_there() -> None:
    documented = re.findall(
        r"^\| `([a-z0-9-]+)` \| (.*?) \| ([0-9,]*) \|", FAULTS_PAGE, re.MULTILINE
    )
    assert documented == [
        (name, fault.does, f"{fault.every:,}" if fault.every else "")
        for name, fault in faults.FAULTS.items()
    ]


def test_every_variable_of_its_own_stands_there() -> None:
    source = Path(config.__file__).read_text("utf-8")
    assert set(re.findall(r"CERTLOAD_REFERENCE_[A-Z_]+", source)) == set(
        re.findall(r"^\| `(CERTLOAD_REFERENCE_[A-Z_]+)` \|", PAGE, re.MULTILINE)
    )


def test_the_variables_of_the_example_are_enough(bench: Bench) -> None:
    match = re.search(
        r"```sh\n([^`]*)python -m pytest_certload\.certctl\.reference\n```", PAGE, re.DOTALL
    )
    assert match is not None
    shown = dict(re.findall(r"\b(CERTCTL_[A-Z_]+)=(\S+)", match[1]))
    ours = bench.environment(None, {})
    # What is shown, and nothing else; but our own database and certificate.
    variables = dict.fromkeys(name for name in ours if name.startswith(("CERTCTL_", "CERTLOAD_")))
    files = {name: ours[name] for name in shown if name.endswith("_PATH")}
    database = bench.database()
    connection = {"CERTCTL_DATABASE_URL": database.dsn}
    with bench.serving(database, **{**variables, **shown, **files, **connection}) as server:
        call = re.search(r"Authorization: Bearer (\S+)\" https://localhost:[0-9]+(\S+)", PAGE)
        assert call is not None
        reply = server.get(call[2], key=call[1])
        assert set(PRODUCT.permissions(reply.json())) >= PRODUCT.required_permissions
