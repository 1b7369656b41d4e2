"""Is the server that measures everybody a sound one? Spoken to with raw sockets."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bench.errors import BenchError
from bench.stamper import Faults, Stamper, read_stamps

BODY = b'{"status":"ok"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + BODY
Start = Callable[..., Stamper]


@pytest.fixture
def start(stamper_program: Path, tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as servers:

        def begin(**options: object) -> Stamper:
            faults = Faults(**options)  # type: ignore[arg-type]
            server = Stamper(stamper_program, dump=tmp_path / "stamps", faults=faults)
            return servers.enter_context(server)

        yield begin


def connect(server: Stamper) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def post(body: bytes = b"{}", *headers: bytes) -> bytes:
    head = b"\r\n".join(
        [b"POST /load HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *headers]
    )
    return head + b"\r\n\r\n" + body


def test_each_request_is_answered_and_stamped(start: Start) -> None:
    server = start()
    with connect(server) as one, connect(server) as other:
        before = time.monotonic_ns()
        for number, connection in enumerate([one, other, one]):
            connection.sendall(post(b"{}", b"X-Seq: %d" % number))
            assert receive(connection, len(ANSWER)) == ANSWER
    stamps = server.stop()
    # Not before: an answer can be here before the server knows that it was written.
    after = time.monotonic_ns()
    assert stamps.number.tolist() == [0, 1, 2]
    assert before < stamps.arrival[0] <= stamps.written[0] <= stamps.arrival[1]
    assert stamps.written[-1] < after
    assert (stamps.connections, stamps.peak_connections, stamps.refused) == (2, 2, 0)


def test_a_request_that_comes_in_pieces_arrives_with_its_last_byte(start: Start) -> None:
    server = start()
    request = post(b"0123456789")
    with connect(server) as connection:
        for place in range(len(request) - 1):
            connection.sendall(request[place : place + 1])
        last = time.monotonic_ns()
        connection.sendall(request[-1:])
        assert receive(connection, len(ANSWER)) == ANSWER
    assert server.stop().arrival[0] > last


def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    server = start()
    count = 500
    with connect(server) as connection:
        connection.sendall(b"".join(post(b"x" * (i % 7), b"X-Seq: %d" % i) for i in range(count)))
        assert receive(connection, count * len(ANSWER)) == ANSWER * count
    stamps = server.stop()
    assert stamps.number.tolist() == list(range(count))
    assert (stamps.written >= stamps.arrival).all()


def test_pipelined_requests_to_a_slow_server_are_answered_too(start: Start) -> None:
    server = start(service_us=1000)
    with connect(server) as connection:
        connection.sendall(post() * 20)
        assert receive(connection, 20 * len(ANSWER)) == ANSWER * 20
    assert len(server.stop()) == 20


def test_a_body_larger_than_every_buffer(start: Start) -> None:
    server = start()
    with connect(server) as connection:
        connection.sendall(post(b"x" * 1_000_000) + post())
        assert receive(connection, 2 * len(ANSWER)) == ANSWER * 2
    assert len(server.stop()) == 2


@pytest.mark.parametrize(
    "request_", [post(b"{}", b"Connection: close"), b"GET / HTTP/1.0\r\n\r\n"], ids=["1.1", "1.0"]
)
def test_the_last_request_of_a_connection(start: Start, request_: bytes) -> None:
    server = start()
    with connect(server) as connection:
        connection.sendall(request_)
        answer = receive(connection, 10_000)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + BODY)


def test_a_peer_that_sends_no_more_is_still_answered(start: Start) -> None:
    server = start(service_us=1000)
    with connect(server) as connection:
        connection.sendall(post() * 3)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 10_000) == ANSWER * 3
    assert len(server.stop()) == 3


def test_an_answer_to_head_has_no_body(start: Start) -> None:
    server = start()
    with connect(server) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\n\r\n" + post())
        whole = ANSWER.removesuffix(BODY) + ANSWER
        assert receive(connection, len(whole)) == whole


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\x00" * 64 + b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000, 431),
    ],
)
def test_garbage_is_refused_and_nobody_else_suffers(
    start: Start, request_: bytes, status: int
) -> None:
    server = start()
    with connect(server) as bystander, connect(server) as connection:
        connection.sendall(request_)
        assert receive(connection, 13).startswith(b"HTTP/1.1 %d " % status)
        bystander.sendall(post())
        assert receive(bystander, len(ANSWER)) == ANSWER
    stamps = server.stop()
    assert (len(stamps), stamps.refused) == (1, 1)


def test_peers_that_go_away_at_any_moment(start: Start) -> None:
    server = start(service_us=500)
    request = post(b"{}" * 10)
    for place in range(0, len(request) + 1, 7):
        with connect(server) as connection:
            # Reset instead of closed: what is on its way is gone.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(request[:place])
    with connect(server) as connection:
        connection.sendall(request)
        assert receive(connection, len(ANSWER)) == ANSWER
    assert server.exit_code is None


def test_a_peer_that_never_reads_is_not_read_either(start: Start) -> None:
    server = start()
    with connect(server) as greedy, connect(server) as connection:
        greedy.setblocking(False)
        requests = post() * 1000
        with pytest.raises(BlockingIOError):
            any(greedy.send(requests) == 0 for _ in itertools.count())
        connection.sendall(post())
        assert receive(connection, len(ANSWER)) == ANSWER


def test_a_stall_holds_everything_up(start: Start) -> None:
    def arrivals() -> npt.NDArray[np.int64]:
        server = start(stall_at=0.1, stall_for=0.3)
        with connect(server) as connection:
            begin = time.monotonic_ns()
            while time.monotonic_ns() < begin + 600_000_000:
                connection.sendall(post())
                assert receive(connection, len(ANSWER)) == ANSWER
        return server.stop().arrival

    # What holds client or server up only adds to it: the shortest is nearest to the truth.
    tries = [arrivals() for _ in range(3)]
    assert all(np.diff(arrival).max() > 299e6 for arrival in tries)
    arrival = min(tries, key=lambda arrival: np.diff(arrival).max())
    gaps = np.diff(arrival) / 1e6
    assert gaps.max() < 400
    assert (arrival[gaps.argmax()] - arrival[0]) / 1e6 == pytest.approx(100, abs=50)


def test_a_service_time_is_kept(start: Start) -> None:
    server = start(service_us=5000)
    with connect(server) as one, connect(server) as other:
        for _ in range(10):
            one.sendall(post())
            other.sendall(post())
            receive(one, len(ANSWER))
            receive(other, len(ANSWER))
    stamps = server.stop()
    # Both at once: without a limit nobody waits for anybody.
    assert stamps.service.min() >= 5_000_000
    assert np.median(stamps.service) < 9_500_000
    assert len(stamps) == 20


def test_a_limited_concurrency_is_a_queue(start: Start) -> None:
    def since_first() -> npt.NDArray[np.float64]:
        server = start(service_us=500_000, concurrency=2)
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(connect(server)) for _ in range(6)]
            for connection in connections:
                connection.sendall(post())
            for connection in connections:
                assert receive(connection, len(ANSWER)) == ANSWER
        stamps = server.stop()
        waited: npt.NDArray[np.float64] = (stamps.written - stamps.arrival[0]) / 1e6
        return waited

    tries = [since_first() for _ in range(3)]
    assert all((waited >= [500, 500, 1000, 1000, 1500, 1500]).all() for waited in tries)
    # One at a time would take 3 s.
    assert min(waited[-1] for waited in tries) < 2900


def test_stamps_can_be_had_while_it_runs(start: Start, tmp_path: Path) -> None:
    server = start()
    with connect(server) as connection:
        connection.sendall(post() + b"GET /__dump HTTP/1.1\r\n\r\n")
        whole = ANSWER + ANSWER.replace(BODY, b'{"stamps":1}').replace(b": 15", b": 12")
        assert receive(connection, len(whole)) == whole
        assert len(read_stamps(tmp_path / "stamps")) == 1
    assert len(server.stop()) == 1


def test_it_ends_with_whoever_holds_its_input(stamper_program: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [stamper_program, "--dump", tmp_path / "stamps", "--stall-for", "60"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(post())
            receive(connection, len(ANSWER))
            process.stdin.close()
            assert process.wait(60) == 0


def test_more_stamps_than_there_is_room_for_are_no_result(
    stamper_program: Path, tmp_path: Path
) -> None:
    with Stamper(stamper_program, dump=tmp_path / "stamps", records=3) as server:
        with connect(server) as connection:
            connection.sendall(post() * 5)
            assert receive(connection, 5 * len(ANSWER)) == ANSWER * 5
        with pytest.raises(BenchError, match="no room for 2 stamps"):
            server.stop()


def test_a_server_that_cannot_start_is_an_error(stamper_program: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did not start: exit code 2"):
        Stamper(stamper_program, dump=tmp_path / "stamps", faults=Faults(service_us=-1))


@pytest.mark.parametrize("content", [b"", b"CLSTAMP1", b"CLSTAMP1" + bytes(47), b"x" * 80])
def test_a_file_that_holds_no_stamps_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stamps").write_bytes(content)
    with pytest.raises(BenchError, match="does not hold stamps"):
        read_stamps(tmp_path / "stamps")
