"""What a product does not say is not asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_certload.errors import ConfigurationError
from pytest_certload.stack import Endpoint, ProductSpec, ServerIdentity
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


def test_without_a_reference_server_there_is_no_image_of_it() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^--certload-server-image reference: shop has no reference server's image; name an",
    ):
        reference_image_of(SHOP)
