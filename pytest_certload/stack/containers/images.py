"""Is the image there, can it be pulled within bounds, or must it be built?"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.images import Image

import pytest_certload
from pytest_certload.errors import ConfigurationError, StackError
from pytest_certload.stack.model import ProductSpec, ReferenceImage
from pytest_certload.stack.processes import last_lines

from .daemon import DOCKER_ERRORS, GONE, explain

__all__ = [
    "ImageUnavailable",
    "build_package_image",
    "build_reference_image",
    "describe_image",
    "ensure_image",
    "why_not_available",
]

PULL_SECONDS = 300.0
BUILD_SILENCE_SECONDS = 300
REFERENCE_REPOSITORY = "certload-reference"
DISTRIBUTION = "pytest-certload"
# How this machine reaches the outside may matter inside a build as well.  Proxy variables are
# known to every build and never recorded; the others are arguments of the Dockerfile's build stage.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PASSED_ON = (
    *PROXIES,
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
)
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
CA_IN_BUILD = "/build/ca.pem"
#: Nobody can write anywhere but to ``/certload``.
PACKAGES_DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}}
RUN apt-get update \\
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends {packages} \\
    && rm -rf /var/lib/apt/lists/* && install --directory --mode=1777 /certload
USER 65534:65534
"""


class ImageUnavailable(StackError):
    """An image is neither on this machine nor to be had from its registry."""


def why_not_available(client: docker.DockerClient, name: str) -> str | None:
    """None when the image is here or its registry has it; else the reason.  Pulls nothing."""
    try:
        client.images.get(name)
        return None
    except ImageNotFound:
        pass
    except DOCKER_ERRORS as error:
        return f"{name}: {explain(error)}"
    try:
        client.api.inspect_distribution(name)  # type: ignore[no-untyped-call]
    except DOCKER_ERRORS as error:
        return f"{name} is not here and cannot be pulled ({explain(error)})"
    return None


def ensure_image(
    client: docker.DockerClient,
    name: str,
    *,
    option: str,
    announce: Callable[[str], None],
) -> Image:
    """The image, pulled if it is not here.

    Args:
        client: The daemon.
        name: Repository with tag or digest.
        option: The option that names another one, for messages.
        announce: Told that a pull begins.

    Raises:
        ImageUnavailable: It is unknown, or the registry refuses, or the pull takes too long.
    """
    try:
        return client.images.get(name)
    except ImageNotFound:
        announce(f"pulling the image {name}")
    except DOCKER_ERRORS as error:
        raise ImageUnavailable(f"The image {name} cannot be used ({explain(error)}).") from error
    errors: list[Exception] = []

    def pull() -> None:
        try:
            # To its end, also after an error, or its connection would stay open.
            for event in client.api.pull(name, stream=True, decode=True):
                if "error" in event:
                    errors.append(DockerException(event["error"]))
        except DOCKER_ERRORS as error:
            errors.append(error)
            if isinstance(error, APIError) and error.response is not None:
                error.response.close()

    # The client waits for a registry without any limit, so the limit is ours.
    thread = threading.Thread(target=pull, name=f"certload-pull {name}", daemon=True)
    thread.start()
    thread.join(PULL_SECONDS)
    if thread.is_alive():
        raise ImageUnavailable(
            f"The image {name} was not pulled within {PULL_SECONDS:g} s; run docker pull {name} "
            f"first, or name another image with {option}."
        )
    if errors:
        raise ImageUnavailable(
            f"The image {name} is not on this machine and cannot be pulled "
            f"({explain(errors[0])}); correct {option}, log in to the registry, or run docker "
            f"pull {name} where it works."
        ) from errors[0]
    return client.images.get(name)


def describe_image(name: str, image: Image) -> str:
    """Name and digest of an image; its id when it never was in a registry."""
    digests = image.attrs.get("RepoDigests") or []
    return f"{name} ({digests[0].partition('@')[2] if digests else image.id})"


def reference_image_of(product: ProductSpec) -> ReferenceImage:
    """How the product's reference server is made an image.

    Raises:
        ConfigurationError: It cannot be.
    """
    if product.reference_image is None:
        raise ConfigurationError(
            f"--certload-server-image reference: {product.name} has no reference server's image; name "
            "an image"
        )
    return product.reference_image


def build_reference_image(
    client: docker.DockerClient,
    product: ProductSpec,
    *,
    announce: Callable[[str], None],
) -> tuple[str, Image]:
    """The reference server's image and its name, built unless this very source is built already.

    Raises:
        ConfigurationError: The product has none.
        ImageUnavailable: Its base image cannot be pulled.
        StackError: The build failed, with its last lines.
    """
    recipe = reference_image_of(product)
    with tempfile.TemporaryDirectory(prefix="certload-image-") as directory:
        context = Path(directory)
        tag = f"{REFERENCE_REPOSITORY}:{_fill_context(context, recipe)}"
        try:
            return tag, client.images.get(tag)
        except ImageNotFound:
            pass
        ensure_image(
            client,
            recipe.base_image,
            option="--certload-server-image",
            announce=announce,
        )
        announce(f"building the image {tag}")
        # Only now: how we reach the outside does not change what is built.
        arguments = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
        ca_path = next((os.environ[n] for n in CA_VARIABLES if os.environ.get(n)), None)
        if ca_path is not None:
            try:
                shutil.copyfile(ca_path, context / "ca.pem")
            except OSError as error:
                raise StackError(
                    f"The image {tag} cannot be built: the CA certificates at {ca_path} cannot be read "
                    f"({error.strerror or error}); let one of {', '.join(CA_VARIABLES)} name a file of them."
                ) from error
            arguments["PIP_CERT"] = CA_IN_BUILD
        arguments["BASE_IMAGE"] = recipe.base_image
        _build(client, context, tag, arguments)
    image = client.images.get(tag)
    _remove_older(client, image, REFERENCE_REPOSITORY)
    return tag, image


def build_package_image(
    client: docker.DockerClient,
    base_image: str,
    packages: Sequence[str],
    *,
    repository: str,
    announce: Callable[[str], None],
) -> tuple[str, Image]:
    """An image with Debian packages, run as nobody, and its name; built unless it is there already.

    Args:
        client: The daemon.
        base_image: What it is made from.
        packages: The packages.
        repository: The image's name, without a tag.
        announce: Told that it is built.

    Raises:
        ImageUnavailable: Its base image cannot be pulled.
        StackError: The build failed, with its last lines.
    """
    recipe = PACKAGES_DOCKERFILE.format(packages=" ".join(sorted(packages)))
    tag = f"{repository}:{hashlib.sha256(f'{base_image}{recipe}'.encode()).hexdigest()[:16]}"
    try:
        return tag, client.images.get(tag)
    except ImageNotFound:
        pass
    ensure_image(client, base_image, option="--certload-stack embedded", announce=announce)
    announce(f"building the image {tag}")
    arguments = {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
    arguments["BASE_IMAGE"] = base_image
    with tempfile.TemporaryDirectory(prefix="certload-image-") as directory:
        Path(directory, "Dockerfile").write_text(recipe, encoding="utf-8")
        _build(client, Path(directory), tag, arguments)
    image = client.images.get(tag)
    _remove_older(client, image, repository)
    return tag, image


def _fill_context(context: Path, recipe: ReferenceImage) -> str:
    """Write Dockerfile, requirements and source; returns what names them all."""
    package = Path(pytest_certload.__file__).resolve().parent
    shutil.copyfile(recipe.dockerfile, context / "Dockerfile")
    (context / "ca.pem").touch()
    requirements = "\n".join(_requirements(recipe.requirements))
    (context / "requirements.txt").write_text(requirements + "\n", encoding="utf-8")
    shutil.copytree(
        package,
        context / package.name,
        ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
    )
    content = hashlib.sha256(recipe.base_image.encode())
    for path in sorted(_files(context)):
        content.update(f"\0{path.relative_to(context)}\0".encode())
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _requirements(names: tuple[str, ...]) -> list[str]:
    """The requirements of this distribution that have these names, with their version bounds."""
    declared = {
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower(): line.partition(";")[0].strip()
        for line in importlib.metadata.requires(DISTRIBUTION) or []
    }
    return [declared.get(name, name) for name in names]


def _build(client: docker.DockerClient, context: Path, tag: str, arguments: dict[str, str]) -> None:
    output: list[str] = []
    failed = False
    with _cleared_up(client, output):
        try:
            events = client.api.build(
                path=str(context),
                tag=tag,
                buildargs=arguments,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=BUILD_SILENCE_SECONDS,
            )
            for event in events:
                output.append(event.get("stream") or event.get("error") or "")
                failed = failed or "error" in event
        except DOCKER_ERRORS as error:
            raise StackError(
                f"The image {tag} cannot be built ({explain(error)}). {last_lines(''.join(output))}"
            ) from error
        if failed:
            raise StackError(f"The image {tag} cannot be built. {last_lines(''.join(output))}")


@contextmanager
def _cleared_up(client: docker.DockerClient, output: Sequence[str]) -> Iterator[None]:
    """A build of which no container stays; ``output`` is what it says."""
    try:
        yield
    except BaseException:
        # What went wrong is worth more than that it could not be cleared up.
        with contextlib.suppress(StackError):
            _remove_intermediate(client, "".join(output))
        raise
    _remove_intermediate(client, "".join(output))


def _remove_intermediate(client: docker.DockerClient, output: str) -> None:
    """Remove the containers of a build's steps that the daemon left: one that is busy, it gives up on.

    Raises:
        StackError: The daemon refuses.
    """
    for container in re.findall(r"^ ---> Running in ([0-9a-f]{12,64})$", output, re.MULTILINE):
        try:
            client.api.remove_container(container, force=True, v=True)
        except DOCKER_ERRORS as error:
            if not (isinstance(error, APIError) and error.status_code in GONE):
                raise StackError(
                    f"A container of a build cannot be removed ({explain(error)}); "
                    f"docker rm --force {container} does."
                ) from error


def _remove_older(client: docker.DockerClient, current: Image, repository: str) -> None:
    for image in client.images.list(name=repository):
        if image.id == current.id:
            continue
        try:
            for tag in image.tags:
                client.images.remove(tag)
        except APIError as error:
            # In use by another run, or removed by it: that run is not ours to disturb.
            if error.status_code not in GONE:
                raise StackError(
                    f"An older image {repository} cannot be removed ({explain(error)})."
                ) from error
