"""The operator's password: changed in the configuration file and in the running daemon, as one step."""

from __future__ import annotations

import asyncio

from bty.errors import Conflict
from bty.services.auth import Auth
from bty.services.config_file import ConfigFile
from bty.services.password import Password, hash_password


class Account:
    """The one operator."""

    def __init__(self, auth: Auth, file: ConfigFile) -> None:
        self._auth = auth
        self._file = file
        self._changing = asyncio.Lock()

    @property
    def origin(self) -> str:
        """Where the password is from."""
        config = self._file.stored
        return config.origins.get("admin.password_hash" if config.admin.password_hash else "admin.password", "default")

    @property
    def why_fixed(self) -> str | None:
        """Why the password cannot be changed here, None where it can."""
        for key in ("admin.password", "admin.password_hash"):
            origin = self._file.stored.origins.get(key, "default")
            if not origin.startswith(("default", "toml(")):
                return f"the password is set by {origin}: change it there and restart"
        return None if self._file.path else "no configuration file can be written"

    async def change_password(self, current: str, new: str, *, ip: str) -> str:
        """Change the password, end every login and return the token of a new one.

        Raises `NotAllowed` where *current* is wrong, `TooMany`, `Conflict` where it cannot be changed here, `StoreFailed`.
        """
        if self.why_fixed:
            raise Conflict(self.why_fixed)
        async with self._changing:
            await self._auth.confirm(current, ip=ip)
            hashed = await asyncio.to_thread(hash_password, new)
            await asyncio.to_thread(self._file.write, {"admin.password_hash": hashed, "admin.password": None})
            return await self._auth.replace_password(Password.of(self._file.stored.admin), ip=ip)
