"""The operator's password: compared without telling how far it was right, and named by a generation that changes with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Self

from bty.errors import ConfigFailed
from bty.services.config import DEFAULT_PASSWORD, Admin
from bty.units import MIB

# Interactive logins: about 50 ms and 16 MiB. Source: RFC 7914 section 2, and the parameters that it came with.
_N, _R, _P = 2**14, 8, 1
_MEMORY_MAX = 256 * MIB
_FORM = re.compile(r"scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class _Scrypt:
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def compute(self, password: bytes) -> bytes:
        memory = 2 * (128 * self.r * (self.n + self.p) + MIB)
        return hashlib.scrypt(password, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=memory, dklen=len(self.digest))


@dataclass(frozen=True, slots=True)
class Password:
    """What a login is compared with: the words themselves, or their scrypt hash."""

    _plain: bytes = field(repr=False)
    _hash: str = field(default="", repr=False)
    _scrypt: _Scrypt | None = field(default=None, repr=False)

    @classmethod
    def of(cls, admin: Admin) -> Self:
        """Return the configured password. Raises `ConfigFailed` where the hash is none."""
        if not admin.password_hash:
            return cls(_bytes(admin.password))
        return cls(b"", admin.password_hash, _parse(admin.password_hash))

    @property
    def is_default(self) -> bool:
        """Tell whether it is the well-known one."""
        return self._scrypt is None and self._plain == _bytes(DEFAULT_PASSWORD)

    def verify(self, attempt: str) -> bool:
        """Tell whether *attempt* is the password. With a hash this takes a while: call it in a thread."""
        if self._scrypt is None:
            return hmac.compare_digest(_bytes(attempt), self._plain)
        return hmac.compare_digest(self._scrypt.compute(_bytes(attempt)), self._scrypt.digest)

    def generation(self, secret: bytes) -> str:
        """Return a name for this password, from which without *secret* nobody can tell the password."""
        return hmac.new(secret, b"\0".join((self._hash.encode(), self._plain)), hashlib.sha256).hexdigest()


def hash_password(password: str) -> str:
    """Return *password* as `[admin] password_hash` takes it. Takes a while."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(_bytes(password), salt=salt, n=_N, r=_R, p=_P, maxmem=2 * 128 * _R * _N, dklen=32)
    return "$".join(["scrypt", str(_N), str(_R), str(_P), *(base64.b64encode(part).decode() for part in (salt, digest))])


def _parse(text: str) -> _Scrypt:
    problem = ConfigFailed("admin.password_hash is not an scrypt hash", hint="scrypt$n$r$p$salt$hash with salt and hash in base64")
    match = _FORM.fullmatch(text)
    if not match:
        raise problem
    n, r, p = (int(number) for number in match.group(1, 2, 3))
    if n < 2 or n & (n - 1) or not r or not p or 128 * n * r > _MEMORY_MAX or r * p >= 2**30:
        raise ConfigFailed("admin.password_hash has parameters that cannot be used", hint="n a power of two, at most 256 MiB of memory")
    try:
        salt, digest = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in match.group(4, 5))
    except binascii.Error:
        raise problem from None
    if len(digest) < 16:
        raise problem
    return _Scrypt(n, r, p, salt, digest)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold half a pair
