"""What must nobody read? The session's secrets, taken out of every text before it is written or shown.

One place knows them: what options, stack and headers gave it, and what looks like one wherever it came
from.  Error messages and tracebacks of users' code may carry either.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

__all__ = ["MASK", "Redactor"]

T = TypeVar("T")

#: Stands where a secret stood. Fit for file names, Markdown and labels.
MASK = "[redacted]"

#: Shorter ones are taken out as whole words only, or they would eat into others.
_SHORT = 8
#: Words that reports are made of. As a password such a word is a default that everybody knows; taken out
#: wherever it stands, it would make figures nameless. In addresses it is taken out all the same.
_OURS = frozenset(
    [
        "postgres",
        "server",
        "generator",
        "embedded",
        "docker",
        "external",
        "passed",
        "failed",
        "valid",
        "suspect",
        "invalid",
    ]
)
#: So much of a secret that was cut off is still one.
_FRAGMENT = 6
_MARKS = (
    r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|"
    r"credential|signature|session[_-]?id|authorization|jwt)"
)
_WORDS = r"(?:pass|pwd|auth|sig)"
#: A name that says that a secret follows. Begins where a name begins and gives nothing back, so that a long
#: text is looked through once.
_NAME = rf"(?<![\w.-])(?:(?=[\w.-]*?{_MARKS})[\w.-]++|{_WORDS}(?![\w.-]))"
_SECRET_NAME = re.compile(rf".*{_MARKS}.*|(?:.*_)?(?:{_WORDS}|key|dsn)", re.I)
_SECRET_HEADER = re.compile(
    r".*(?:auth|cookie|token|secret|key|session|password|signature).*", re.I
)

#: What looks like a secret, and what of it stays. In order: what comes first takes most.
_LOOKS = (
    # A header, printed as such or as part of a dict.
    (
        re.compile(
            r"(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*(?:[bB]?[\"'])?)"
            r"(?!\[redacted)(?:(?:bearer|basic|digest|token)\s+)?[^\s\"',;)}\]]+",
            re.I,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(\b(?:set-)?cookie[\"']?\s*:\s*[\"']?)[^\"'\r\n]+", re.I), rf"\1{MASK}"),
    (
        re.compile(r"(\b(?:bearer|basic)\s+)(?=[^\s\"']*[0-9=._~+/])[\w.~+/=-]{8,}", re.I),
        rf"\1{MASK}",
    ),
    # User and password of a URL; what this package writes itself as an example stays.
    (
        re.compile(r"((?<![\w+.-])[a-z][a-z0-9+.-]*+://)(?!user:password@)[^\s/\"'<>]*@", re.I),
        rf"\1{MASK}@",
    ),
    # A query parameter, or a word of a DSN.
    (
        re.compile(rf"((?:[?&;]|&amp;)(?:{_NAME}|key)=)(?!\[redacted)[^\s&;#\"'<>)\]]+", re.I),
        rf"\1{MASK}",
    ),
    (
        re.compile(r"(\b(?:pg)?(?:password|passwd|pwd)=)(?!=|\[redacted)[^\s&;,\"'<>)\]]+", re.I),
        rf"\1{MASK}",
    ),
    # A keyword, an entry of a dict, a setting, an SQL literal: name and quoted value.
    (
        re.compile(
            rf"({_NAME}[\"']?\s*(?:[:=]\s*|(?<=password)\s+)[bB]?)\"(?!\")[^\"\r\n]+\"", re.I
        ),
        rf'\1"{MASK}"',
    ),
    (
        re.compile(rf"({_NAME}[\"']?\s*(?:[:=]\s*|(?<=password)\s+)[bB]?)'(?!')[^'\r\n]+'", re.I),
        rf"\1'{MASK}'",
    ),
)


class Redactor:
    """Knows a session's secrets and takes them out of texts.

    What was learned is taken out wherever it stands, also percent-encoded, escaped as in a ``repr`` or
    JSON, and cut off beside an ellipsis.  What looks like a secret is, too: an ``Authorization`` or
    ``Cookie`` header, user and password of a URL, a query parameter such as ``token``, and what is
    written ``password='…'``.
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    # What is learned.

    def learn(self, *secrets: str | None) -> None:
        """Take these out from now on; one of several lines also line by line."""
        for secret in secrets:
            for part in (secret or "", *(secret or "").splitlines()):
                word = part.strip()
                # One or two characters are in every text; to take them out would hide nothing.
                if len(word) > 2 and word not in _OURS:
                    self._secrets.add(word)
                    self._pattern = None

    def learn_dsn(self, dsn: str | None) -> None:
        """A database's address: the whole, its password, and what of its parameters is secret.

        A password that is also the user's or the database's name is known to everybody; it is taken
        out of addresses, not wherever the word stands.
        """
        if dsn is None:
            return
        self.learn(dsn)
        try:
            parts = urlsplit(dsn)
        except ValueError:
            return
        known = {unquote(parts.username or ""), parts.path.strip("/")}
        found = [unquote(parts.password or "")]
        found += [value for name, value in parse_qsl(parts.query) if _SECRET_NAME.fullmatch(name)]
        self.learn(*(secret for secret in found if secret not in known))

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """The values of headers that say who asks, and of ``Bearer …`` what follows the word."""
        for name, value in headers.items():
            if _SECRET_HEADER.fullmatch(name):
                scheme, _, rest = value.partition(" ")
                self.learn(value, rest)
                if scheme.lower() == "basic":
                    self.learn(_password_of_basic(rest))

    def learn_environment(self, variables: Iterable[tuple[str, str]]) -> None:
        """The values of a server's environment, as far as they can be secrets.

        All under a name such as ``…_TOKEN``, ``…_KEY`` or ``…_PASSWORD``, a URL that names a user, and of the
        rest what is longer than seven characters and neither a number, a duration nor a plain word or
        path.
        """
        for name, value in variables:
            if "://" in value:
                if "@" in value:
                    self.learn_dsn(value)
            elif _SECRET_NAME.fullmatch(name) or (
                len(value) >= _SHORT
                and not re.fullmatch(r"[0-9.,:]+\w{0,3}|[A-Za-z]+|[./~].*", value)
            ):
                self.learn(value)

    def learn_list(self, pairs: str | None) -> None:
        """Values of headers that are written as OpenTelemetry does, ``name=value,name=value``."""
        for pair in (pairs or "").split(","):
            value = unquote(pair.partition("=")[2]).strip()
            self.learn(value, value.partition(" ")[2])

    # What is taken out.

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._secrets:
            self._pattern = self._pattern or _pattern_of(self._secrets)
            text = self._pattern.sub(MASK, text)
        for pattern, stays in _LOOKS:
            text = pattern.sub(stays, text)
        return text

    def name(self, name: str) -> str:
        """The same for what must stay a name: letters, digits, ``.``, ``_`` and ``-``."""
        return self.text(name).replace(MASK, "-redacted-").strip("-")

    def record(self, record: T) -> T:
        """A frozen dataclass, or tuples, lists and mappings of them, with every text in it redacted but keys."""
        cleaned: T = self._cleaned(record)
        return cleaned

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, (int, float)):
            return value
        if isinstance(value, Mapping):
            # Keys are names: of figures, settings, tables, variables. Others look them up.
            return {key: self._cleaned(part) for key, part in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(map(self._cleaned, value))
        if is_dataclass(value) and not isinstance(value, type):
            parts = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
            return replace(value, **{name: self._cleaned(part) for name, part in parts.items()})
        return value


def _password_of_basic(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def _pattern_of(secrets: Iterable[str]) -> re.Pattern[str]:
    """What finds them in every form in which they come."""
    whole = {form for secret in secrets for form in _forms(secret)}
    alternatives = [_alone(form) for form in sorted(whole, key=len, reverse=True)]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > _FRAGMENT:
            # Cut off by whoever shortened the text: a begin before an ellipsis, an end after one.
            lengths = range(len(secret) - 1, _FRAGMENT - 1, -1)
            begins = "|".join(re.escape(secret[:length]) for length in lengths)
            ends = "|".join(re.escape(secret[-length:]) for length in lengths)
            alternatives += [rf"(?:{begins})(?=…|\.\.\.)", rf"(?:(?<=…)|(?<=\.\.\.))(?:{ends})"]
    return re.compile("|".join(alternatives))


def _forms(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }


def _alone(form: str) -> str:
    return re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
