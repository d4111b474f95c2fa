"""A Python client of Lodestream, and of any service that speaks the same API.

    from lodestream.client import Client

    with Client("https://lodestream.example", token) as client:
        with client.stream("project/dataset/name").listen() as results:
            for result in results:
                work(result.comment)

It needs nothing of the server but its HTTP API.
"""

from lodestream.client.async_client import AsyncClient
from lodestream.client.async_listener import AsyncListener
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
