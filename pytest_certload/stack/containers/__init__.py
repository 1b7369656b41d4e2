"""How does a stack run in containers? Postgres and the server image on a network of their own.

The only folder that knows Docker.  Everything it makes carries the label of the run, so that one
search finds what has to go: at teardown here, and from the guard when the test process is dead.
Ports are published on loopback only.
"""

from .images import ImageUnavailable
from .provider import open_docker, why_no_image, why_not_docker

__all__ = ["ImageUnavailable", "open_docker", "why_no_image", "why_not_docker"]
