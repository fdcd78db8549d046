"""Who may log in to a machine's live environment: the configuration's section, and what its values must look like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bty.errors import ConfigFailed

# A key without options: what its owner may do is decided by who hands it out.
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}(?: [^\x00-\x1f\x7f]*)?")
# As crypt(5) makes them, but for the kinds that are broken. Neither colon nor line end: it becomes a field of shadow(5).
_CRYPT = re.compile(r"\$(?:y|gy|7|6|5|2[aby])\$[./0-9A-Za-z$=,]{20,300}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAccess:
    """Who may log in to a machine's live environment by ssh, as root: with nothing here, nobody, and no ssh server starts."""

    ssh_authorized_keys: tuple[str, ...] = ()
    ssh_password_hash: str = field(default="", repr=False)


def ssh_keys(value: object, origin: str) -> tuple[str, ...]:
    """Return the public keys of a text, one a line or behind commas. Raises `ConfigFailed` where one is none."""
    keys = tuple(part.strip().rstrip(",") for part in re.split(r"\n|,(?=\s*(?:ssh|ecdsa|sk)-)", str(value)) if part.strip())
    for key in keys:
        if not _KEY.fullmatch(key):
            raise ConfigFailed(f"{origin}: live.ssh_authorized_keys: not a public key: {key[:40]!r}", hint="ssh-ed25519 AAAA... comment")
    return keys


def ssh_password_hash(value: object, origin: str) -> str:
    """Return the hash of a password. Raises `ConfigFailed` where it is none."""
    text = str(value).strip()
    if text and not _CRYPT.fullmatch(text):
        raise ConfigFailed(f"{origin}: live.ssh_password_hash is not a hash as crypt(5) has them", hint="mkpasswd --method=yescrypt")
    return text
