"""What runs under test? A Postgres with seeds and a server, from one of three providers.

``docker`` runs images, ``embedded`` runs a local Postgres and the product's reference server,
``external`` uses what runs already.  The vocabulary is one: a ``StackRequest`` and a
``ProductSpec`` go in, a ``Stack`` comes out.  Importing this package is cheap; providers and what
they need are imported when one is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from pytest_certload.errors import ConfigurationError

from .hosts import check_host
from .interruptions import keeping_interruptions
from .model import (
    PROVIDERS,
    Endpoint,
    Expectation,
    Part,
    ProductSpec,
    ReferenceImage,
    SeedFile,
    ServerIdentity,
    ServerSetup,
    Stack,
    StackRequest,
)

__all__ = [
    "PROVIDERS",
    "Endpoint",
    "Expectation",
    "Part",
    "ProductSpec",
    "ReferenceImage",
    "SeedFile",
    "ServerIdentity",
    "ServerSetup",
    "Stack",
    "StackRequest",
    "check_host",
    "choose_provider",
    "open_stack",
]


def choose_provider(request: StackRequest, product: ProductSpec) -> tuple[str, str]:
    """Which provider will run, and why.  Bounded in time; nothing is pulled or started.

    ``auto`` is external when a base URL is given, and a token if the product looks at it; docker when a
    daemon answers and each image is there or its registry has it; and embedded otherwise.

    Raises:
        ConfigurationError: The request's provider is none.
    """
    if request.provider not in PROVIDERS:
        raise ConfigurationError(
            f"--certload-stack {request.provider!r} is no stack; choose {', '.join(PROVIDERS)}"
        )
    if request.provider != "auto":
        return request.provider, "asked for by --certload-stack"
    if request.base_url is not None and (request.token is not None or not product.authorised_path):
        return "external", f"a base URL{' and a token are' if request.token else ' is'} given"
    from .containers import why_not_docker

    obstacle = why_not_docker(request, product)
    if obstacle is None:
        return "docker", "a Docker daemon answers and its images are at hand"
    return "embedded", f"no Docker stack: {obstacle}"


@contextmanager
def open_stack(
    request: StackRequest, product: ProductSpec, *, announce: Callable[[str], None]
) -> Iterator[Stack]:
    """Run the stack that is asked for: Postgres, migrated and seeded, and the server, ready.

    The order is: Postgres, the server's migrations, the seeds with their row counts, the server,
    its readiness, its version, one authorised call.  Nothing of a stack that was started here is
    left afterwards, whatever ends the run; an external one is left as it is.

    Args:
        request: What the options ask for.
        product: What the server is and how it is run.
        announce: Told in a few words what is going on, for whoever waits.

    Raises:
        ConfigurationError: The request cannot be used.
        StackError: Something cannot be started, reached or trusted.
        SeedError: The seeds cannot be applied.
    """
    with keeping_interruptions(), ExitStack() as stack:
        provider, reason = choose_provider(request, product)
        announce(f"stack: {provider} ({reason})")
        if provider == "docker":
            from .containers import ImageUnavailable

            try:
                opened = stack.enter_context(_open(provider, request, product, reason, announce))
            except ImageUnavailable as error:
                # The registry knew the image a moment ago and refuses it now.
                if request.provider != "auto":
                    raise
                provider, reason = "embedded", f"no Docker stack: {error}"
                announce(f"stack: {provider} ({reason})")
                opened = stack.enter_context(_open(provider, request, product, reason, announce))
        else:
            opened = stack.enter_context(_open(provider, request, product, reason, announce))
        yield opened


def _open(
    provider: str,
    request: StackRequest,
    product: ProductSpec,
    reason: str,
    announce: Callable[[str], None],
) -> AbstractContextManager[Stack]:
    if provider == "docker":
        from .containers import open_docker

        return open_docker(request, product, reason=reason, announce=announce)
    if provider == "embedded":
        from .embedded import open_embedded

        return open_embedded(request, product, reason=reason, announce=announce)
    from .external import open_external

    return open_external(request, product, reason=reason, announce=announce)
