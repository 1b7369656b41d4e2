"""What does certctl deploy certificates to? nginx, apache and haproxy, and a stand-in for an F5."""

from .api import Connectors, Target, open_connectors

__all__ = ["Connectors", "Target", "open_connectors"]
