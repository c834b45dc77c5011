"""How requests are signed; a receiver can use this file as it is."""

import hashlib
import hmac


def sign(key: bytes, stamp: str, body: bytes) -> str:
    """The header X-Signature-256: HMAC-SHA256 over the header X-Timestamp, a dot and the body."""
    return "sha256=" + hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_signed(key: bytes, stamp: str, body: bytes, signature: str) -> bool:
    """Whether a request is from someone who has the key. The comparison takes the same time for all of them."""
    return hmac.compare_digest(sign(key, stamp, body), signature)
