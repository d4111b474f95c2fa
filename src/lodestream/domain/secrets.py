"""Secrets at rest: sealed with keys that only the operator has.

A sealed text says whose it is, so that one that was moved to another owner does not open there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from msgspec import Struct

from lodestream.domain.errors import Unprocessable

SETTING: Final = "LODESTREAM_SECRET_KEY"


class _Sealed(Struct):
    owner: str
    secrets: dict[str, str]


class Keyring:
    """The keys that seal and open secrets: the first one seals, each of them opens."""

    def __init__(self, text: str = "") -> None:
        """Read keys that are separated by commas; empty: there is none.

        Raises ValueError, without the key, if one cannot be used.
        """
        keys = [part.strip() for part in text.split(",") if part.strip()]
        fernets = [_fernet(number, key) for number, key in enumerate(keys, 1)]
        self._fernet = MultiFernet(fernets) if fernets else None

    def __repr__(self) -> str:
        return f"Keyring({'without keys' if self.is_empty else 'with keys'})"

    @property
    def is_empty(self) -> bool:
        """Whether there is no key."""
        return self._fernet is None

    def seal(self, owner: str, secrets: Mapping[str, str]) -> str:
        """Return secrets as they may be stored. Raises Unprocessable if there is no key."""
        if self._fernet is None:
            raise Unprocessable(
                "this server has no key to keep secrets with: let the operator make one with "
                f"`lodestream secret new-key`, set it as {SETTING}, and start the server again"
            )
        plain = msgspec.json.encode(_Sealed(owner, dict(secrets)))
        return self._fernet.encrypt(plain).decode()

    def unseal(self, owner: str, sealed: str | None) -> dict[str, str]:
        """Return the secrets of an owner; none if there is nothing sealed.

        Raises Unprocessable if no key opens them, or if they are another's.
        """
        if sealed is None:
            return {}
        found = None
        if self._fernet is not None:
            with contextlib.suppress(InvalidToken, msgspec.DecodeError):
                found = msgspec.json.decode(self._fernet.decrypt(sealed), type=_Sealed)
        if found is None or found.owner != owner:
            raise Unprocessable(
                f"the stored secrets cannot be opened: no key in {SETTING} is the one that they "
                "were sealed with. Add that key to it, or give the secrets anew"
            )
        return found.secrets

    def opens(self, owner: str, sealed: str) -> bool:
        """Tell whether one of the keys opens the secrets of an owner."""
        try:
            self.unseal(owner, sealed)
        except Unprocessable:
            return False
        return True

    def resealed(self, owner: str, sealed: str) -> str:
        """Return secrets sealed with the first key. Raises Unprocessable as `unseal`."""
        return self.seal(owner, self.unseal(owner, sealed))


def new_key() -> str:
    """Return a new random key."""
    return Fernet.generate_key().decode()


def _fernet(number: int, key: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ValueError(
            f"{SETTING}: key {number} is not one that `lodestream secret new-key` makes"
        ) from None
