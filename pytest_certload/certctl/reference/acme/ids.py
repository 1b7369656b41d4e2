"""What are orders, authorizations, challenges and certificates called? Chance, 80 bits of it."""

from __future__ import annotations

import base64
import secrets

__all__ = ["new_id"]

_BYTES = 10
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
#: Crockford's digits and letters, and so also certctl's.
_CROCKFORD = b"0123456789abcdefghjkmnpqrstvwxyz"
_TRANSLATION = bytes.maketrans(_STANDARD, _CROCKFORD)


def new_id(prefix: str = "") -> str:
    """A new id of 16 characters after its prefix."""
    text = base64.b32encode(secrets.token_bytes(_BYTES))
    return prefix + text.translate(_TRANSLATION).decode()
