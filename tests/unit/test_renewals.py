"""What renewal-info must say, and whether it does."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.certctl.reference.acme.renewal_info import renewal_serial
from pytest_certload.certctl.renewals import Renewal, renewal_id

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RENEWAL = Renewal(id="AAAA.AQ", start=START, end=START + timedelta(days=15))


@given(st.integers(1 << 156, (1 << 159) - 1))
def test_an_id_holds_the_serial_number_that_is_stored(serial: int) -> None:
    made = renewal_id(f"{serial:040x}")
    key, _, number = made.partition(".")
    assert len(base64.urlsafe_b64decode(key + "=")) == 20
    assert int.from_bytes(base64.urlsafe_b64decode(number + "="), "big") == serial
    # As the server looks for it: all 40 digits, when the first is no zero.
    assert renewal_serial(made) == f"{serial:040x}"


def document(start: str, end: str) -> dict[str, Any]:
    return {"suggestedWindow": {"start": start, "end": end}}


@pytest.mark.parametrize(
    ("start", "end", "named"),
    [
        ("2026-11-25T12:00:00Z", "2026-12-10T12:00:00Z", True),
        ("2026-11-25T13:00:00+01:00", "2026-12-10T12:00:00.000Z", True),
        ("2026-11-26T12:00:00Z", "2026-12-11T12:00:00Z", False),
        ("2026-11-25T12:00:00Z", "2026-12-10T12:00:01Z", False),
    ],
)
def test_a_window_is_the_same_moment_however_it_is_written(
    start: str, end: str, named: bool
) -> None:
    assert RENEWAL.is_named_by(document(start, end)) is named


@pytest.mark.parametrize(
    "wrong", [{}, [], None, {"suggestedWindow": None}, document("today", "tomorrow")]
)
def test_what_names_no_window_does_not_name_it(wrong: Any) -> None:
    assert not RENEWAL.is_named_by(wrong)


def test_a_number_whose_first_bit_is_set_has_an_octet_before_it() -> None:
    """An integer of DER would be below zero without (RFC 9773, 4.1)."""
    serial = "f" * 40
    number = base64.urlsafe_b64decode(renewal_id(serial).partition(".")[2])
    assert number == b"\0" + bytes.fromhex(serial)
    assert renewal_serial(renewal_id(serial)) == serial
