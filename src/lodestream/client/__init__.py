"""A Python client of Lodestream, and of any service that speaks the same API.

    from lodestream.client import Client

    with Client("https://lodestream.example", token) as client:
        with client.stream("project/dataset/name").listen() as results:
            for result in results:
                work(result.comment)

It needs nothing of the server but its HTTP API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lodestream.client.client import Client
from lodestream.client.deliveries import Batch, FieldsBatch, FieldsResult, Result
from lodestream.client.errors import (
    BadAnswer,
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    ServerFault,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    Unusable,
)
from lodestream.client.listener import Listener
from lodestream.client.retries import Retries
from lodestream.client.shapes import Attachment, Comment, Label, Message, NewComment, Synced, Text

if TYPE_CHECKING:
    from lodestream.client.async_client import AsyncClient
    from lodestream.client.async_listener import AsyncListener

__all__ = [
    "AsyncClient",
    "AsyncListener",
    "Attachment",
    "BadAnswer",
    "BadRequest",
    "Batch",
    "Client",
    "ClientError",
    "Comment",
    "Conflict",
    "FieldsBatch",
    "FieldsResult",
    "Forbidden",
    "Label",
    "Listener",
    "Message",
    "NewComment",
    "NotFound",
    "Refused",
    "Result",
    "Retries",
    "ServerFault",
    "Synced",
    "Text",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "Unusable",
]


def __getattr__(name: str) -> Any:
    # asyncio takes longer to import than all the rest: it is, when somebody asks for it.
    if name == "AsyncClient":
        from lodestream.client.async_client import AsyncClient

        return AsyncClient
    if name == "AsyncListener":
        from lodestream.client.async_listener import AsyncListener

        return AsyncListener
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
