from __future__ import annotations

import json
import time
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.redaction import _OURS, MASK, Redactor

TOKEN = "3f9ac1d27be84a50a1"
secrets = st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40
).filter(
    # Words of every report stay; what stands for a secret is none, nor is what is nothing but quotes.
    lambda word: word not in _OURS and len(bare := word.strip("'\"")) >= 8 and bare not in MASK
)


@given(secrets, st.text(max_size=30), st.text(max_size=30))
def test_what_was_learned_is_taken_out_in_every_form(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    for form in (secret, quote(secret, safe=""), repr(secret), json.dumps(secret)):
        assert form.strip("'\"") not in redactor.text(f"{before} {form} {after}")


@pytest.mark.parametrize("word", sorted(_OURS))
def test_a_secret_that_is_a_word_of_every_report_takes_none_out(word: str) -> None:
    redactor = Redactor()
    redactor.learn(word)
    assert redactor.text(f"the {word} here") == f"the {word} here"


@pytest.mark.parametrize(
    "text", [f"{TOKEN[:9]}…", f"{TOKEN[:-1]}...'", f"...{TOKEN[-8:]}", f"…{TOKEN[1:]}"]
)
def test_what_is_left_of_a_secret_that_was_cut_off_is_one(text: str) -> None:
    redactor = Redactor()
    redactor.learn(TOKEN)
    assert redactor.text(text).strip("….'") == MASK


def test_a_short_one_is_taken_out_as_a_word() -> None:
    redactor = Redactor()
    redactor.learn("abc", "x", None, "")
    assert redactor.text("abc and abcd, x (abc)") == f"{MASK} and abcd, x ({MASK})"


def test_each_line_of_a_key_is_secret() -> None:
    redactor = Redactor()
    redactor.learn("-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n")
    assert redactor.text("  hkiG9w0BAQEFAASC\n") == f"  {MASK}\n"


class TestADsn:
    def test_is_taken_out_whole_and_its_password_everywhere(self) -> None:
        redactor = Redactor()
        redactor.learn_dsn("postgresql://me:hunter%202@db/shop?sslpassword=s3same&sslmode=disable")
        text = redactor.text("hunter 2, hunter%202 and s3same, with sslmode=disable for me on db")
        assert text == f"{MASK}, {MASK} and {MASK}, with sslmode=disable for me on db"

    def test_a_password_that_everybody_knows_is_taken_out_of_addresses_alone(self) -> None:
        redactor = Redactor()
        redactor.learn_dsn("postgresql://postgres:postgres@localhost/shop")
        assert redactor.text("postgres 0.11 cores") == "postgres 0.11 cores"
        assert (
            redactor.text("at postgres://postgres:postgres@other") == f"at postgres://{MASK}@other"
        )

    def test_one_that_is_none_is_secret_all_the_same(self) -> None:
        redactor = Redactor()
        redactor.learn_dsn("postgresql://[me:hunter2")
        assert redactor.text("cannot read postgresql://[me:hunter2") == f"cannot read {MASK}"


def test_headers_that_say_who_asks_are_secret_and_others_are_not() -> None:
    redactor = Redactor()
    redactor.learn_headers(
        {
            "Authorization": f"Bearer {TOKEN}",
            "Proxy-Authorization": "Basic bWU6aHVudGVyMjIy",
            "X-Api-Key": "key-of-mine",
            "Accept": "application/json",
        }
    )
    text = redactor.text(f"{TOKEN} hunter222 key-of-mine application/json")
    assert text == f"{MASK} {MASK} {MASK} application/json"


def test_a_servers_settings_stay_and_its_secrets_do_not() -> None:
    redactor = Redactor()
    redactor.learn_environment(
        [
            ("CERTCTL_AUTH_SECRET", "geheim"),
            ("SIGNING_KEY", "qwertz"),
            ("DATABASE_URL", "postgresql://me:hunter2@db/shop"),
            ("PUBLIC_URL", "https://localhost:8443"),
            ("UNNAMED", "a8f3-99ce-bb01"),
            ("LOG_LEVEL", "information"),
            ("RATE_LIMIT", "10000000s"),
            ("DATA", "/var/lib/shop"),
            ("ENABLED", "true"),
        ]
    )
    text = "geheim qwertz hunter2 https://localhost:8443 a8f3-99ce-bb01 information 10000000s /var/lib/shop true"
    assert redactor.text(text) == (
        f"{MASK} {MASK} {MASK} https://localhost:8443 {MASK} information 10000000s /var/lib/shop true"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://a:b@c/d", f"postgresql://{MASK}@c/d"),
        ("http://u:p@q@host/x", f"http://{MASK}@host/x"),
        ("GET http://h/p?access_token=abc&x=1", f"GET http://h/p?access_token={MASK}&x=1"),
        ("/p?x=1&amp;sig=abc#there", f"/p?x=1&amp;sig={MASK}#there"),
        ("{'Authorization': 'Bearer abc'}", f"{{'Authorization': '{MASK}'}}"),
        ("> authorization: Basic bWU6eA==", f"> authorization: {MASK}"),
        ("sent Bearer abc.def-9", f"sent Bearer {MASK}"),
        ("Set-Cookie: a=b; Path=/", f"Set-Cookie: {MASK}"),
        ("ALTER ROLE a PASSWORD 'ge heim'", f"ALTER ROLE a PASSWORD '{MASK}'"),
        ('{"client_secret": "zzz"}', f'{{"client_secret": "{MASK}"}}'),
        ("login(api_key='zzz')", f"login(api_key='{MASK}')"),
        ("host=db user=me password=zzz dbname=x", f"host=db user=me password={MASK} dbname=x"),
    ],
)
def test_what_looks_like_a_secret_is_one(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected
    assert Redactor().text(expected) == expected, "a text may be redacted twice"


@pytest.mark.parametrize(
    "text",
    [
        "token: a key without :admin, or one from CERTCTL_AUTH_SECRET, may only read.",
        "write postgresql://user:password@localhost:5432/name",
        "assert token == 'x'",
        "token=settings.token",
        "p95 < 500 ms (412 ms; 395 – 430 ms)",
        "https://127.0.0.1:8443/api?page=2",
        "Postgres at localhost refuses the user or the password (SQLSTATE 28P01)",
        "tests/test_it.py::test_storm[a@b]",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_text_of_a_megabyte_is_looked_through_in_a_second() -> None:
    redactor = Redactor()
    redactor.learn(TOKEN, "another-secret-of-mine")
    for text in (
        "a" * 1_000_000,
        "a://" * 250_000,
        "a.b-" * 250_000,
        "token" * 200_000,
        "@" * 1_000_000,
    ):
        begun = time.process_time()
        redactor.text(text)
        # With a pattern that tries everything it would be hours.
        assert time.process_time() - begun < 30, text[:8]


@dataclass(frozen=True)
class Inner:
    text: str
    count: int = 3


@dataclass(frozen=True)
class Outer:
    many: tuple[Inner, ...]
    facts: dict[str, str]
    nothing: None = None


def test_every_text_of_a_record_is_redacted() -> None:
    redactor = Redactor()
    redactor.learn(TOKEN)
    record = Outer(many=(Inner(f"a {TOKEN}"), Inner("b")), facts={"server": TOKEN, TOKEN: "x"})
    assert redactor.record(record) == Outer(
        many=(Inner(f"a {MASK}"), Inner("b")), facts={"server": MASK, TOKEN: "x"}
    )


def test_a_password_that_is_a_word_of_reports_takes_no_name_away() -> None:
    redactor = Redactor()
    redactor.learn_dsn("postgresql://certctl:postgres@db.example:5432/certctl")
    redactor.learn_environment([("DB_PASSWORD", "postgres"), ("SORT_KEY", "name")])
    facts = {"postgres": "16.4", "postgres_shared_buffers": "1GB", "name": "the name"}
    assert redactor.record(facts) == {**facts, "name": f"the {MASK}"}, (
        "keys are looked up by others"
    )
    assert redactor.text("at postgresql://certctl:postgres@db") == f"at postgresql://{MASK}@db"
