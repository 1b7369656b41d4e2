"""Is this the server we think it is, can it be trusted, and may we do what we need?

A few requests over ``http.client``, made once before the load; the load itself never goes here.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pytest_certload.errors import ConfigurationError, StackError

from .model import Endpoint, ProductSpec, ServerIdentity

__all__ = [
    "Answer",
    "Unreachable",
    "check_token",
    "explain",
    "get",
    "identify",
    "wait_until_ready",
]

REQUEST_SECONDS = 10.0
POLL_SECONDS = 0.05
BODY_LIMIT = 1_000_000
# X509_V_ERR_* of OpenSSL, told apart by their remedies.
EXPIRED = 10
NOT_YET_VALID = 9
NAME_MISMATCHES = (62, 63, 64)


class Unreachable(StackError):
    """No connection at all: the server may be starting still."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One response."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


def get(endpoint: Endpoint, path: str, *, timeout: float = REQUEST_SECONDS) -> Answer:
    """One GET on a connection of its own, with the endpoint's token.

    Raises:
        Unreachable: Nothing listens, or it hangs up, or it does not answer in time.
        StackError: The certificate cannot be trusted, or it is no HTTP server.
        ConfigurationError: The CA file cannot be used.
    """
    parts = urlsplit(endpoint.base_url)
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=timeout,
            context=_ssl_context(endpoint),
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path + path, headers=headers)
        response = connection.getresponse()
        return Answer(status=response.status, body=response.read(BODY_LIMIT))
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise explain(endpoint, error) from error
    finally:
        connection.close()


def explain(endpoint: Endpoint, error: Exception) -> StackError:
    """Why a server cannot be reached or trusted, and what to do.

    Args:
        endpoint: The server.
        error: What its connection ended with.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return StackError(_untrusted(endpoint, error))
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        # Docker's proxy accepts connections before anybody listens behind it, and hangs up.
        return Unreachable(
            f"{endpoint.base_url} hangs up during the TLS handshake; check that the server runs."
        )
    if isinstance(error, ssl.SSLError):
        return StackError(
            f"No TLS connection to {endpoint.base_url} ({error.reason or error}); "
            "if the server speaks plain HTTP, "
            + _remedy(
                endpoint,
                "write http:// in --certload-base-url.",
                "say tls=False in its ProductSpec.",
            )
        )
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return StackError(
            f"The host of {endpoint.base_url} cannot be resolved ({error}); "
            "correct --certload-base-url."
        )
    reason = "no answer in time" if isinstance(error, TimeoutError) else error
    check = _remedy(endpoint, "--certload-base-url and that the server runs.", "its log.")
    return Unreachable(
        f"{endpoint.base_url} cannot be reached ({reason}); check {check}{_scheme(endpoint)}"
    )


def _scheme(endpoint: Endpoint) -> str:
    if not endpoint.base_url.startswith("http:"):
        return ""
    return " If it speaks TLS, " + _remedy(
        endpoint,
        "write https:// in --certload-base-url.",
        "its ProductSpec must not say tls=False.",
    )


def _remedy(endpoint: Endpoint, option: str, own: str) -> str:
    """What to do about a server that an option names, or about one that we start."""
    return own if endpoint.ours else option


_OWN_CERTIFICATE = "it must serve the cert_path and key_path of its ServerSetup."


def _ssl_context(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(
            cafile=str(endpoint.ca_path) if endpoint.ca_path is not None else None
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"--certload-ca {endpoint.ca_path} is not a readable PEM file with a certificate "
            f"({error.strerror or error})"
        ) from error


def _untrusted(endpoint: Endpoint, error: ssl.SSLCertVerificationError) -> str:
    url = endpoint.base_url
    if error.verify_code == EXPIRED:
        return f"The certificate of {url} has expired; renew it."
    if error.verify_code == NOT_YET_VALID:
        return f"The certificate of {url} is not valid yet; check the clocks of both machines."
    if error.verify_code in NAME_MISMATCHES:
        return f"The certificate of {url} is for another name ({error.verify_message}); " + _remedy(
            endpoint, "use a name that it holds in --certload-base-url.", _OWN_CERTIFICATE
        )
    ca = "the CAs of this system" if endpoint.ca_path is None else str(endpoint.ca_path)
    return f"The certificate of {url} does not come from {ca} ({error.verify_message}); " + _remedy(
        endpoint, "name the PEM file of its CA with --certload-ca.", _OWN_CERTIFICATE
    )


def wait_until_ready(
    endpoint: Endpoint,
    product: ProductSpec,
    *,
    timeout: float,
    check_alive: Callable[[], None],
    last_words: Callable[[], str],
) -> None:
    """Poll the ready path until it answers 200.

    Args:
        endpoint: The server.
        product: What it is.
        timeout: Seconds to wait.
        check_alive: Raises when the server has ended; called before every request.
        last_words: The end of its log, for the message.

    Raises:
        StackError: Not ready in time, with the last answer and the end of its log.
    """
    deadline = time.monotonic() + timeout
    while True:
        check_alive()
        try:
            answer = get(endpoint, product.ready_path, timeout=REQUEST_SECONDS)
            if answer.status == 200:
                return
            last, hint = f"{product.ready_path} answers {answer.status} {_excerpt(answer)}", ""
        except Unreachable as error:
            last, hint = f"{error.__cause__}", _scheme(endpoint)
        if time.monotonic() >= deadline:
            raise StackError(
                f"The {product.name} server is not ready after {timeout:g} s ({last}); "
                f"if the machine is slow, raise --certload-boot-timeout.{hint} {last_words()}"
            )
        time.sleep(POLL_SECONDS)


def identify(endpoint: Endpoint, product: ProductSpec) -> ServerIdentity:
    """Ask the server who it is.

    Raises:
        StackError: It is not the product.
    """
    if product.version_path is None:
        return ServerIdentity(server=product.name, is_reference=False)
    answer = get(endpoint, product.version_path)
    document = answer.json()
    if answer.status != 200 or document is None:
        raise StackError(
            f"{endpoint.base_url} is no {product.name} server: {product.version_path} answers "
            f"{answer.status} {_excerpt(answer)}; {_correct(endpoint)}"
        )
    if product.identify is None:
        return ServerIdentity(server=product.name, is_reference=False)
    try:
        return product.identify(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StackError(
            f"{endpoint.base_url} is no {product.name} server: {product.version_path} answers "
            f"JSON without what it must hold ({error}); {_correct(endpoint)}"
        ) from error


def check_token(endpoint: Endpoint, product: ProductSpec) -> None:
    """Make one authorised call and see that the token may do all that the scenarios do.

    Raises:
        StackError: The token is refused, or may do too little.
    """
    if product.authorised_path is None:
        return
    answer = get(endpoint, product.authorised_path)
    more = f" {product.token_help}" if product.token_help else ""
    if answer.status == 401:
        given = "The token is" if endpoint.token else "No token was given, and that is"
        raise StackError(
            f"{given} refused by {endpoint.base_url} (401); "
            + _remedy(
                endpoint,
                "give a valid one by --certload-token.",
                "it must take the token that its environment is given.",
            )
            + more
        )
    if answer.status == 403:
        raise StackError(
            f"The token is not allowed even to ask {endpoint.base_url} what it may do (403).{more}"
        )
    document = answer.json()
    if answer.status != 200 or document is None:
        raise StackError(
            f"The authorised call {product.authorised_path} of {endpoint.base_url} answers "
            f"{answer.status} {_excerpt(answer)} instead of 200 with JSON."
        )
    try:
        permissions = set(product.permissions(document))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StackError(
            f"The authorised call {product.authorised_path} of {endpoint.base_url} answers JSON without "
            f"what it must hold ({error})."
        ) from error
    missing = product.required_permissions - permissions
    if missing:
        raise StackError(
            f"The token may do too little on {endpoint.base_url}: it lacks "
            f"{', '.join(sorted(missing))}.{more}"
        )


def _correct(endpoint: Endpoint) -> str:
    return _remedy(
        endpoint, "correct --certload-base-url.", "look for what was started in its place."
    )


def _excerpt(answer: Answer) -> str:
    text = " ".join(answer.body.decode("utf-8", "replace").split())
    return f"{text[:120]!r}" if text else "without a body"
