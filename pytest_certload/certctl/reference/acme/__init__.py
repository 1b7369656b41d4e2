"""The ACME server: RFC 8555 and RFC 9773, as certctl has them.

`service` knows the resources, `jws` a signed request, `signing` whose it is; the other modules do
one resource each.
"""

from __future__ import annotations

from .issuance import find_issuer
from .service import Acme

__all__ = ["Acme", "find_issuer"]
