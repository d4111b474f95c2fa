"""From a matched route to its reply: authenticate, authorise, decode, call, encode.

Everything here is synchronous and runs in a thread, but for the `fast` handlers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Generic, TypeVar

import msgspec

from lodestream.api.http import OK_REPLY, Reply, Request
from lodestream.api.routing import Guard, Route
from lodestream.api.service import Service
from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.errors import InvalidInput, NotFound, PermissionMissing, Unauthenticated

_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True)
class Call(Generic[_Body]):
    """One authorised request, as a handler sees it.

    `project_id` is that of the project named in the path, where there is one.
    """

    service: Service
    request: Request
    route: Route
    actor: Actor
    values: tuple[str, ...]
    body: _Body
    project_id: str

    def value(self, name: str) -> str:
        """Return a path parameter."""
        return self.values[self.route.parameters.index(name)]

    def require(self, project_id: str, *, not_found: str = "404 Not Found") -> None:
        """Require the row's permissions in the project of the thing that was found by id.

        Raises NotFound if the caller may not see the project, PermissionMissing otherwise; where
        the row hides the thing, NotFound in both cases.
        """
        needs = self.route.needs
        check = access.require_any if needs.guard is Guard.OBJECT_ANY else access.require
        try:
            check(self.actor, project_id, needs.permissions, not_found=not_found)
        except PermissionMissing:
            if needs.guard is Guard.HIDDEN_OBJECT:
                raise NotFound(not_found) from None
            raise


def handle(service: Service, route: Route, request: Request, values: tuple[str, ...]) -> Reply:
    """Answer a request by its row. Raises LodestreamError for every expected refusal."""
    if route.fast is not None and not service.db.is_sqlite:
        fast: Reply | None = route.fast(service, request, values)
        if fast is not None:
            return fast
    actor, project_id = authorise(service, route, request, values)
    body = _decode(service, route, request)
    result = route.handler(Call(service, request, route, actor, values, body, project_id))
    if isinstance(result, Reply):
        return result
    if result is None:
        return Reply(OK_REPLY)
    return Reply(msgspec.json.encode(result))


def token_digest(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the SHA-256 of a request's token. Raises Unauthenticated if it has none."""
    header = headers.get(b"authorization")
    if header is not None:
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("401 Unauthorized: the header must be 'Authorization: Bearer …'")
    else:
        token = headers.get(b"x-auth-token", b"")
    token = token.strip()
    if not token:
        raise Unauthenticated("401 Unauthorized: no token")
    return sha256(token).digest()


def authenticate(service: Service, request: Request) -> Actor:
    """Return who calls. Raises Unauthenticated."""
    digest = token_digest(request.headers)
    service.catalogue.refresh()
    actor = service.catalogue.find_actor(digest)
    if actor is None:
        raise Unauthenticated("401 Unauthorized: the token is unknown or revoked")
    service.activity.called(actor.user_id)
    return actor


_NOBODY = Actor("", "", frozenset(), {})


def authorise(
    service: Service, route: Route, request: Request, values: tuple[str, ...]
) -> tuple[Actor, str]:
    """Return who calls, and the id of the project that the path names, if its row asks there.

    Raises Unauthenticated, PermissionMissing, NotFound.
    """
    needs = route.needs
    if needs.guard is Guard.PUBLIC:
        return _NOBODY, ""
    actor = authenticate(service, request)
    if needs.guard is Guard.GLOBAL:
        access.require_global(actor, needs.permissions)
    if needs.guard not in (Guard.PROJECT, Guard.PROJECT_ANY):
        return actor, ""
    name = values[0]
    missing = f"No such project: {name}"
    project_id = service.catalogue.find_project_id(name)
    if project_id is None:
        raise NotFound(missing)
    check = access.require if needs.guard is Guard.PROJECT else access.require_any
    check(actor, project_id, needs.permissions, not_found=missing)
    return actor, project_id


def _decode(service: Service, route: Route, request: Request) -> Any:
    if route.body is None:
        return None
    body = request.body
    if not body and route.body_optional:
        body = b"{}"
    if not route.checks_json and not body.isascii():
        try:
            body.decode()  # JSON that is passed on as text is not looked at otherwise
        except UnicodeDecodeError:
            raise InvalidInput("the body is not valid JSON: it is not UTF-8") from None
    return decode_json(service.decoder(route.body), body)


_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def decode_json(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """Decode and check a JSON body. Raises InvalidInput saying what is wrong, and where."""
    # NUL cannot be stored as text by every database, and no text needs it.
    # Most bodies escape nothing; to look for one byte takes a fiftieth of the time.
    if b"\\" in body and b"\\u0000" in body and _ESCAPED_NUL.search(body):
        raise InvalidInput("the body contains NUL (\\u0000), which no text may contain")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise InvalidInput("the body is not valid JSON: it is not UTF-8") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
