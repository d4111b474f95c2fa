"""Calls as values: what to send, how to read the answer, whether it may be made twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from lodestream.client.errors import BadAnswer, ClientError, refusal
from lodestream.client.http import Reply
from lodestream.client.retries import retry_after_s

T = TypeVar("T")

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call that is ready to be made. `idempotent` allows to make it again when no answer came.

    With `gone_is_done` a 404 on a repeated call is a success: the first one was obeyed.
    """

    method: str
    path: str
    body: bytes | None
    decode: Callable[[bytes | bytearray], T]
    idempotent: bool
    gone_is_done: bool = False

    def as_json(self) -> Call[dict[str, Any]]:
        """Return the same call, with the whole answer: with all that no struct names.

        It still has to be the answer expected.
        """

        def both(content: bytes | bytearray) -> dict[str, Any]:
            self.decode(content)
            return anything(content)

        return Call(self.method, self.path, self.body, both, self.idempotent, self.gone_is_done)

    def read(self, reply: Reply, *, tries: int) -> T:
        """Return what an answer holds. Raises Refused or BadAnswer."""
        if not 200 <= reply.status < 300:
            return self._refused(reply, tries=tries)
        try:
            return self.decode(reply.content)
        except msgspec.DecodeError as error:
            what = f"{self.method} {self.path}: not the answer expected: {error}"
            raise BadAnswer(what) from error

    def _refused(self, reply: Reply, *, tries: int) -> T:
        if reply.status == 404 and tries > 1 and self.gone_is_done:
            return self.decode(b'{"status":"ok"}')
        raise self.refusal(reply, tries=tries)

    def refusal(self, reply: Reply, *, tries: int) -> ClientError:
        """Return the error that an answer is which is no success."""
        if reply.status < 400:
            # Following it would send the token to wherever it leads.
            return BadAnswer(
                f"{self.method} {self.path}: a redirect to {reply.headers.get('location', '')!r}, "
                "which is not followed: use the URL of the server itself"
            )
        try:
            message = _error.decode(reply.content).message
        except msgspec.DecodeError:
            message = "the server refused the request"
        asked = retry_after_s(reply.headers)
        return refusal(reply.status, message, retry_after_s=asked, tries=tries)


class _Error(msgspec.Struct):
    message: str = "the server refused the request"


_error: Final = msgspec.json.Decoder(_Error)


class _Done(msgspec.Struct):
    status: Literal["ok"]


_done: Final = msgspec.json.Decoder(_Done)
_any: Final = msgspec.json.Decoder(dict[str, Any])


def nothing(content: bytes | bytearray) -> None:
    """Read an answer that says no more than that it is done."""
    _done.decode(content)


def anything(content: bytes | bytearray) -> dict[str, Any]:
    """Read an answer as it is."""
    return _any.decode(content)


def whole(kind: type[T]) -> Callable[[bytes | bytearray], T]:
    """Return what reads an answer as a struct."""
    return msgspec.json.Decoder(kind).decode


def inside(name: str, kind: type[T]) -> Callable[[bytes | bytearray], T]:
    """Return what reads the value of one key of an answer."""

    # Made when it is first needed: a command of the command line makes a call or two.
    @cache
    def decoder() -> msgspec.json.Decoder[Any]:
        shape = msgspec.defstruct("Answer", [("status", Literal["ok"]), (name, kind)])
        return msgspec.json.Decoder(shape)

    def read(content: bytes | bytearray) -> T:
        found: T = getattr(decoder().decode(content), name)
        return found

    return read


def call(
    method: str,
    path: str,
    body: object = None,
    *,
    decode: Callable[[bytes | bytearray], T],
    idempotent: bool | None = None,
    gone_is_done: bool = False,
) -> Call[T]:
    """Return a call; `body` is encoded as JSON, bytes are sent as they are.

    `idempotent` need only be said of what is not GET, PUT or DELETE.
    """
    content = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
    may_repeat = method in _IDEMPOTENT if idempotent is None else idempotent
    return Call(method, path, content, decode, may_repeat, gone_is_done)


def part(text: str) -> str:
    """Return one segment of a path."""
    return quote(text, safe="")


def full_name(text: str) -> str:
    """Return `project/name` as two segments of a path. Raises ValueError for anything else."""
    owner, slash, name = text.partition("/")
    if not slash or not owner or not name or "/" in name:
        raise ValueError(f"{text!r} is no full name: project/name expected")
    return f"{part(owner)}/{part(name)}"


def query(**given: object) -> str:
    """Return the query of a path; what is None is left out, a sequence is repeated."""
    flat: list[tuple[str, str]] = []
    for name, value in given.items():
        if value is None:
            continue
        many = value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
        flat += [(name, _text(one)) for one in many]
    return "?" + urlencode(flat, quote_via=quote, safe="") if flat else ""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else str(value)
