from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_certload.ladder.climb import Climbed
from pytest_certload.ladder.rungs import Rung
from pytest_certload.ladder.table import WRITTEN, ladder_document, ladder_page
from pytest_certload.report.record import RunRecord, ThresholdRecord
from pytest_certload.stats.summary import IntervalSummary
from tests.unit.test_baselines import MS
from tests.unit.test_report import RECORD

FIRST = Rung(name="first")
MISSED = ThresholdRecord(
    metric="response time p95", step=None, condition="< 5 ms", actual="9 ms", passed=False
)


DIED = replace(
    RECORD.proof,
    processes=tuple(replace(part, death="killed by SIGKILL") for part in RECORD.proof.processes),
)


def run(p95: int = 10 * MS, **changes: object) -> RunRecord:
    iterations = RECORD.iterations
    times = replace(iterations.response_time, count=10_000, p95=p95)
    interval = IntervalSummary(
        percent=95, low=p95 * 98 // 100, high=p95 * 102 // 100, effective=5_000
    )
    step = replace(
        iterations,
        count=10_000,
        ok=10_000,
        errors=0,
        rate=100.0,
        response_time=times,
        intervals=(interval,),
    )
    record = replace(
        RECORD, scenario="storm", iterations=step, offered_rate=100.0, state="passed",
        validity="valid", thresholds=(), failure=None, reduced=(),
    )  # fmt: skip
    return replace(record, **changes)  # type: ignore[arg-type]


def climbed(rung: Rung, *records: RunRecord, trouble: str | None = None) -> Climbed:
    return Climbed(
        rung=rung,
        folder=Path("results"),
        exit_code=2 if trouble else 0,
        seconds=1.23,
        records=records,
        trouble=trouble,
    )


def rows(page: str, scenario: str) -> list[list[str]]:
    section = page.split(f"## {scenario}\n\n")[1].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines()
    ]


def test_a_ladder_that_took_days_says_so() -> None:
    days = ("2026-01-02T23:59:00.000+00:00", "2026-01-04T00:01:00.000+00:00")
    rungs = [
        climbed(Rung(name=day), run(started_at=day), run(scenario="burst", started_at=days[0]))
        for day in days
    ]
    assert "Measured 2026-01-02 to 2026-01-04 on " in ladder_page(ladder_document(rungs, []))
    assert "Measured 2026-01-02 on " in ladder_page(ladder_document(rungs[:1], []))


def test_each_rung_is_compared_with_the_first() -> None:
    rungs = [
        climbed(FIRST, run()),
        climbed(Rung(name="quick", postgres={"jit": "off"}), run(5 * MS)),
        climbed(Rung(name="alike"), run(10 * MS + 1)),
    ]
    page = ladder_page(ladder_document(rungs, ["-m", "scale"]))
    heading, _, first, quick, alike = rows(page, "storm")
    assert heading[:3] == ["rung", "p95", "beside the first"]
    assert first[:3] == ["first", "10 ms", "–"]
    assert quick[:2] == ["quick", "5 ms"]
    assert quick[2].startswith("-50 % (")
    assert quick[2].endswith(", lower")
    assert alike[2].endswith(", same")
    assert "| quick | `jit = off` | as the stack has them |" in page
    assert WRITTEN in page
    assert "`pytest -m scale`" in page


def test_what_it_says_of_a_run() -> None:
    rungs = [
        climbed(FIRST, run()),
        climbed(Rung(name="bad"), run(state="failed", thresholds=(MISSED,), offered_rate=120.0)),
        climbed(Rung(name="odd"), run(validity="suspect")),
    ]
    page = ladder_page(ladder_document(rungs, []))
    first, bad, odd = rows(page, "storm")[2:]
    assert (first[4], first[-1]) == ("100/s", "passed")
    assert (bad[4], bad[-1]) == ("100/s of 120/s", "**failed**: response time p95 < 5 ms")
    assert odd[-1] == "passed, suspect"


def test_a_failure_of_a_disturbed_generator_says_so() -> None:
    rungs = [climbed(FIRST, run(state="failed", validity="suspect", thresholds=(MISSED,)))]
    (row,) = rows(ladder_page(ladder_document(rungs, [])), "storm")[2:]
    assert row[-1] == "**failed**, suspect: response time p95 < 5 ms"


def test_changes_that_are_large_or_not_known() -> None:
    sketched = replace(run(200 * MS).iterations, intervals=())
    rungs = [
        climbed(FIRST, run()),
        climbed(Rung(name="slow"), run(300 * MS)),
        climbed(Rung(name="sketched"), run(iterations=sketched)),
    ]
    slow, sketch = rows(ladder_page(ladder_document(rungs, [])), "storm")[3:]
    assert slow[2].startswith("+2,900 % (+2,")
    assert sketch[2] == "+1,900 %, unknown"


def test_the_database_s_time_is_an_iteration_s() -> None:
    database = RECORD.proof.database
    assert database is not None
    proof = replace(RECORD.proof, database=replace(database, statement_seconds=20.0))
    document = ladder_document([climbed(FIRST, run(proof=proof))], [])
    assert document["rungs"][0]["runs"][0]["database"] == 2 * MS
    bare = replace(proof, database=None)
    document = ladder_document([climbed(FIRST, run(proof=bare))], [])
    assert document["rungs"][0]["runs"][0]["database"] is None
    assert rows(ladder_page(document), "storm")[2][6] == "–"


def test_rungs_and_scenarios_that_are_missing() -> None:
    rungs = [
        climbed(FIRST, trouble="pytest ended with 4: no | start"),
        climbed(Rung(name="second"), run(), run(scenario="burst")),
    ]
    page = ladder_page(ladder_document(rungs, []))
    # Nothing to compare with, and nothing that pretends to be.
    assert rows(page, "storm")[2][:3] == ["second", "10 ms", "–"]
    assert len(rows(page, "burst")) == 3
    assert "- first: pytest ended with 4: no \\| start" in page
    nothing = ladder_page(ladder_document(rungs[:1], []))
    assert "Figures that are missing" in nothing


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "changes", [{"validity": "invalid"}, {"state": "interrupted"}, {"proof": DIED}]
)
def test_a_load_that_was_not_offered_to_its_end_is_compared_with_nothing(
    which: int, changes: dict[str, object]
) -> None:
    runs = [run(), run(5 * MS)]
    runs[which] = replace(runs[which], **changes)  # type: ignore[arg-type]
    rungs = [climbed(FIRST, runs[0]), climbed(Rung(name="second"), runs[1])]
    assert rows(ladder_page(ladder_document(rungs, [])), "storm")[3][2] == "–"


def test_a_reduced_run_says_so() -> None:
    page = ladder_page(ladder_document([climbed(FIRST, run(reduced=("duration 3 s",)))], []))
    assert "**Reduced**, not what the tests state: duration 3 s." in page


def test_secrets_are_taken_out() -> None:
    rung = Rung(name="first", server={"API_TOKEN": "hunter2-hunter2", "POOL": "10"})
    words = ["--certload-token", "open-sesame", "--certload-server-env=DB_PASSWORD=letmein-now"]
    words.append("--certload-dsn=postgresql://me:pass-word@localhost/x")
    text = json.dumps(ladder_document([climbed(rung, run())], words))
    for secret in ("hunter2", "open-sesame", "letmein", "pass-word"):
        assert secret not in text
    assert '"POOL": "10"' in text
