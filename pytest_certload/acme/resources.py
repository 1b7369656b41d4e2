"""What does an ACME server answer? Its documents, as far as a client needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = [
    "Account",
    "Authorization",
    "Certificate",
    "Challenge",
    "Directory",
    "Order",
    "problem_type",
]

_Kind = TypeVar("_Kind")
_PROBLEM = "urn:ietf:params:acme:error:"


@dataclass(frozen=True, kw_only=True)
class Directory:
    """Where the server's resources are (RFC 8555, 7.1.1).

    Attributes:
        new_nonce, new_account, new_order: URLs.
    """

    new_nonce: str
    new_account: str
    new_order: str

    @classmethod
    def of(cls, document: object) -> Directory:
        """From its JSON.

        Raises:
            ValueError: A member is missing.
        """
        members = _Members("the directory", document)
        return cls(
            new_nonce=members.text("newNonce"),
            new_account=members.text("newAccount"),
            new_order=members.text("newOrder"),
        )


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account (RFC 8555, 7.3).

    Attributes:
        url: Its URL, by which its requests say who asks.
        created: It was made by this request; False: the key had one already.
    """

    url: str
    created: bool


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One way to prove the control of a name (RFC 8555, 7.1.5).

    Attributes:
        type: Such as ``http-01``.
        url: What is asked once the proof is in place.
        status: ``pending``, ``processing``, ``valid``, ``invalid``.
        token: What the proof is made from, with the key's thumbprint (8.1); None where there is none.
    """

    type: str
    url: str
    status: str
    token: str | None = None

    @classmethod
    def of(cls, document: object) -> Challenge:
        """From its JSON.

        Raises:
            ValueError: A member is missing.
        """
        members = _Members("a challenge", document)
        token = members.member("token")
        return cls(
            type=members.text("type"),
            url=members.text("url"),
            status=members.text("status"),
            token=token if isinstance(token, str) else None,
        )


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """Whether an account may have certificates for a name (RFC 8555, 7.1.4).

    Attributes:
        name: The name, without the ``*.`` of a wildcard.
        status: ``pending``, ``valid``, ``invalid``, ``deactivated``, ``expired``, ``revoked``.
        challenges: Ways to become valid; any one is enough.
    """

    name: str
    status: str
    challenges: Sequence[Challenge]

    @classmethod
    def of(cls, document: object) -> Authorization:
        """From its JSON.

        Raises:
            ValueError: A member is missing.
        """
        members = _Members("an authorization", document)
        identifier = _Members("an authorization's identifier", members.member("identifier"))
        return cls(
            name=identifier.text("value"),
            status=members.text("status"),
            challenges=[Challenge.of(entry) for entry in members.list("challenges")],
        )


@dataclass(frozen=True, kw_only=True)
class Order:
    """A certificate that is asked for (RFC 8555, 7.1.3).

    Attributes:
        url: Its own.
        status: ``pending``, ``ready``, ``processing``, ``valid``, ``invalid``.
        names: What it is for.
        authorizations: URLs of what the server wants to be proven.
        finalize: Where the CSR goes.
        certificate: Where the certificate is, once the order is valid; else None.
    """

    url: str
    status: str
    names: Sequence[str]
    authorizations: Sequence[str]
    finalize: str
    certificate: str | None

    @classmethod
    def of(cls, url: str, document: object) -> Order:
        """From its URL and its JSON.

        Raises:
            ValueError: A member is missing.
        """
        members = _Members("an order", document)
        status = members.text("status")
        return cls(
            url=url,
            status=status,
            names=[
                _Members("an order's identifier", entry).text("value")
                for entry in members.list("identifiers")
            ],
            authorizations=[str(entry) for entry in members.list("authorizations")],
            finalize=members.text("finalize"),
            certificate=members.text("certificate") if status == "valid" else None,
        )


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate that was issued (RFC 8555, 7.4.2).

    Attributes:
        url: Its own.
        chain: PEM: the certificate, then the ones that lead to a CA.
    """

    url: str
    chain: bytes


def problem_type(document: object) -> str | None:
    """Which of ACME's errors a problem document is, such as ``badNonce`` (RFC 8555, 6.7); None: none."""
    kind = document.get("type") if isinstance(document, Mapping) else None
    if isinstance(kind, str) and kind.startswith(_PROBLEM):
        return kind.removeprefix(_PROBLEM)
    return None


class _Members:
    """Reads the members of a JSON object that must be there."""

    def __init__(self, what: str, document: object) -> None:
        self._what = what
        self._members: Mapping[str, Any] = document if isinstance(document, Mapping) else {}

    def member(self, name: str) -> object:
        return self._members.get(name)

    def text(self, name: str) -> str:
        return self._of_type(name, str)

    def list(self, name: str) -> list[Any]:
        return self._of_type(name, list)

    def _of_type(self, name: str, kind: type[_Kind]) -> _Kind:
        value = self._members.get(name)
        if not isinstance(value, kind):
            raise ValueError(f"{self._what} has no {name}")
        return value
