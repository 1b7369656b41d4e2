"""What a product does not say is not asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_certload.errors import ConfigurationError
from pytest_certload.stack import (
    Endpoint,
    ProductSpec,
    ServerIdentity,
    ServerSetup,
    StackRequest,
    choose_provider,
)
from pytest_certload.stack.containers.images import reference_image_of
from pytest_certload.stack.server import check_token, identify

SHOP = ProductSpec(
    name="shop",
    image="registry.example.com/shop:latest",
    port=8080,
    environment=lambda _: {},
    seed_dir=Path("seed"),
    ready_path="/ready",
)
#: Where nobody answers.
NOWHERE = Endpoint(base_url="http://127.0.0.1:1")


def test_a_server_without_a_version_is_what_it_is_called() -> None:
    assert identify(NOWHERE, SHOP) == ServerIdentity(server="shop", is_reference=False)


def test_without_an_authorised_path_no_token_is_tried() -> None:
    check_token(NOWHERE, SHOP)


def test_its_scheme_is_its_own() -> None:
    ca = Path("ca.pem")
    with_tls = SHOP.endpoint("127.0.0.1:8080", ca_path=ca, token="t")
    assert (with_tls.base_url, with_tls.ca_path) == ("https://127.0.0.1:8080", ca)
    plain = replace(SHOP, tls=False).endpoint("127.0.0.1:8080", ca_path=ca, token="t")
    assert (plain.base_url, plain.ca_path) == ("http://127.0.0.1:8080", None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed_dir": "seed"}, r"ProductSpec\(seed_dir='seed'\) of shop: write Path"),
        ({"ready_path": "ready"}, r"ready_path='ready'\) of shop: it begins with a slash"),
        ({"ready_path": None}, r"ready_path=None\) of shop: it begins with a slash"),
        ({"version_path": "version"}, r"version_path='version'\) of shop: it begins with a slash"),
        ({"migrate_arguments": "migrate up"}, r"one by one, such as \(\"migrate\", \"up\"\)"),
        ({"migrate_arguments": ("migrate", 1)}, r"one by one"),
        ({"environment": {"SHOP_PORT": "1"}}, r"environment=\{.*\}\) of shop: write a function"),
        ({"identify": dict}, r"it reads what version_path answers, which is not given"),
        ({"permissions": list}, r"it reads what authorised_path answers, which is not given"),
        ({"required_permissions": {"buy"}}, r"write frozenset"),
        (
            {"required_permissions": frozenset({"buy"})},
            r"what permissions reads, which is not given",
        ),
    ],
)
def test_what_cannot_be_used_is_one_clear_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(SHOP, **fields)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"SHOP_PORT": 8080}, r"SHOP_PORT is 8080, and .* write str"),
        (None, r"of shop returns None; return a dict of variables"),
    ],
)
def test_variables_are_text(made: Any, message: str) -> None:
    product = replace(SHOP, environment=lambda _: made)
    setup = ServerSetup(
        host="h", port=8080, cert_path="", key_path="", database_url="", token="", secret=""
    )
    with pytest.raises(ConfigurationError, match=message):
        product.variables(setup)


def test_without_a_token_that_anybody_looks_at_an_address_is_enough() -> None:
    request = StackRequest(base_url="http://127.0.0.1:1")
    assert choose_provider(request, SHOP) == ("external", "a base URL is given")


def test_without_a_reference_server_there_is_no_image_of_it() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^--certload-server-image reference: shop has no reference server's image; name an",
    ):
        reference_image_of(SHOP)
