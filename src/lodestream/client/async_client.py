"""The client that awaits."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

from lodestream.client import operations, stream_operations
from lodestream.client.account import Account
from lodestream.client.async_connections import AsyncConnections, AsyncOpened
from lodestream.client.async_downloads import AsyncDownload
from lodestream.client.async_methods import (
    AsyncAdminMethods,
    AsyncBucketMethods,
    AsyncDatasetMethods,
    AsyncLabelMethods,
    AsyncModelMethods,
)
from lodestream.client.async_streams import AsyncStreamOf
from lodestream.client.calls import Call
from lodestream.client.errors import ClientError
from lodestream.client.http import Reply
from lodestream.client.retries import Retries
from lodestream.client.shapes import (
    Annotated,
    AuditEvent,
    Comment,
    Dataset,
    Label,
    Project,
    Source,
    Stream,
    Synced,
    User,
)
from lodestream.client.uploads import MOST_BYTES, MOST_COMMENTS, Sendable, batches

T = TypeVar("T")


class AsyncTransport(Protocol):
    """What carries requests to a server."""

    async def exchange(self, method: str, head: bytes, body: bytes | None) -> Reply:
        """Send a request, return the answer. Raises Unreachable or BadAnswer."""
        ...

    async def open(self, head: bytes, body: bytes | None) -> AsyncOpened:
        """Send a request, return its answer when its head is there; as `exchange` otherwise."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class AsyncClient(
    AsyncAdminMethods, AsyncBucketMethods, AsyncDatasetMethods, AsyncLabelMethods, AsyncModelMethods
):
    """Calls a server. For any number of tasks of one event loop; connections are kept and shared.

    url : where the server is, with what stands before `/api`, such as an organisation and a tenant.
    token : whose calls these are. Both come from the environment unless given.
    timeout_s : seconds of silence after which an answer no longer comes.
    retries : how often and after how long a call is repeated; `Retries(most_tries=1)` for never.
    gzip : ask for compressed answers; over TLS unless told otherwise.
    tls : how to check the server's certificate, if not as usual.
    use_environment_proxy : let `HTTPS_PROXY` and the like count.
    proxy : URL of an HTTP proxy to go through, whatever the environment says.
    transport : carries requests in another way.

    Raises ValueError for a URL or a token that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 120.0,
        connect_timeout_s: float = 10.0,
        retries: Retries | None = None,
        gzip: bool | None = None,
        tls: ssl.SSLContext | None = None,
        use_environment_proxy: bool = True,
        proxy: str | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._account = Account(
            url,
            token,
            gzip=gzip,
            tls=tls,
            use_environment_proxy=use_environment_proxy,
            proxy=proxy,
        )
        self._retries = retries or Retries()
        self._transport = transport or AsyncConnections(
            self._account.address, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are not in use."""
        await self._transport.close()

    async def run(self, call: Call[T]) -> T:
        """Make a call, again if it may be and failed in passing.

        Raises Refused, Unreachable or BadAnswer.
        """
        head = self._account.request(call)
        tries = 0
        while True:
            tries += 1
            try:
                reply = await self._transport.exchange(call.method, head, call.body)
                return call.read(reply, tries=tries)
            except ClientError as error:
                wait_s = self._retries.wait_s(error, tries, idempotent=call.idempotent)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    async def call(
        self, method: str, path: str, body: object = None, *, idempotent: bool | None = None
    ) -> dict[str, Any]:
        """Make any call; `body` is sent as JSON, bytes as they are. Returns the JSON of the answer.

        `idempotent` says that it may be made twice, which is known of GET, PUT and DELETE.
        """
        return await self.run(operations.raw(method, path, body, idempotent))

    async def download(self, method: str, path: str, body: object = None) -> AsyncDownload:
        """Make a call whose answer is read as it comes, to be closed then; it may be made twice.

        Raises Refused, Unreachable or BadAnswer.
        """
        call = operations.raw(method, path, body, idempotent=True)
        head = self._account.request(call)
        tries = 0
        while True:
            tries += 1
            try:
                opened = await self._transport.open(head, call.body)
                if 200 <= opened.status < 300:
                    return AsyncDownload(opened)
                async with AsyncDownload(opened) as answer:
                    content = b"".join([part async for part in answer])
                reply = Reply(opened.status, opened.headers, content, kept=False)
                raise call.refusal(reply, tries=tries)
            except ClientError as error:
                wait_s = self._retries.wait_s(error, tries, idempotent=True)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    def stream(self, name: str) -> AsyncStreamOf:
        """Return the stream `project/dataset/name`; asks nothing of the server."""
        return AsyncStreamOf(self, name)

    async def current_user(self) -> User:
        """Return the user whose token this is."""
        return await self.run(operations.current_user())

    async def projects(self) -> list[Project]:
        """Return all projects that the user sees."""
        return await self.run(operations.projects())

    async def create_project(
        self, name: str, *, user_ids: Sequence[str] | None = None, **fields: object
    ) -> Project:
        """Create a project, with its administrators; fields are title and description."""
        return await self.run(operations.create_project(name, user_ids=user_ids, **fields))

    async def sources(self, project: str | None = None) -> list[Source]:
        """Return all sources, or those of a project."""
        return await self.run(operations.sources(project))

    async def source(self, name: str) -> Source:
        """Return the source `project/name`."""
        return await self.run(operations.source(name))

    async def create_source(self, name: str, **fields: object) -> Source:
        """Create a source; fields are title, description, language and so on."""
        return await self.run(operations.create_source(name, **fields))

    async def update_source(self, name: str, **fields: object) -> Source:
        """Change some settings of a source."""
        return await self.run(operations.update_source(name, **fields))

    async def delete_source(self, source_id: str) -> None:
        """Delete a source, by its id, with all its comments."""
        await self.run(operations.delete_source(source_id))

    async def sync_comments(
        self,
        source: str,
        comments: Iterable[Sendable],
        *,
        most: int = MOST_COMMENTS,
        most_bytes: int = MOST_BYTES,
        progress: Callable[[Synced], None] | None = None,
    ) -> Synced:
        """Create or overwrite comments, in batches of at most `most` and `most_bytes`.

        `progress` is told after every batch what has become of all so far. Sending everything
        again after a failure is right: what is there already counts as unchanged.
        """
        so_far = Synced()
        for _, body in batches(comments, most=most, most_bytes=most_bytes):
            so_far = so_far.plus(await self.run(operations.sync(source, body)))
            if progress is not None:
                progress(so_far)
        return so_far

    async def comment(
        self, source: str, comment_id: str, *, include_markup: bool = False
    ) -> Comment:
        """Return one comment of a source."""
        return await self.run(operations.comment(source, comment_id, include_markup=include_markup))

    async def comments(
        self,
        source: str,
        *,
        from_timestamp: datetime | None = None,
        to_timestamp: datetime | None = None,
        direction: Literal["ascending", "descending"] = "ascending",
        limit: int = 256,
        include_markup: bool = False,
    ) -> AsyncIterator[Comment]:
        """Yield the comments of a source by timestamp, both ends included; `limit` at a time."""
        after = None
        while True:
            page = await self.run(
                operations.comments_page(
                    source,
                    after=after,
                    from_timestamp=from_timestamp,
                    to_timestamp=to_timestamp,
                    direction=direction,
                    limit=limit,
                    include_markup=include_markup,
                )
            )
            for one in page.comments:
                yield one
            after = page.continuation
            if after is None:
                return

    async def delete_comments(self, source: str, ids: Sequence[str]) -> None:
        """Delete comments by their ids; those that are not there do not matter."""
        for start in range(0, len(ids), operations.MOST_TO_DELETE):
            some = ids[start : start + operations.MOST_TO_DELETE]
            await self.run(operations.delete_comments(source, some))

    async def datasets(self, project: str | None = None) -> list[Dataset]:
        """Return all datasets, or those of a project."""
        return await self.run(operations.datasets(project))

    async def dataset(self, name: str) -> Dataset:
        """Return the dataset `project/name`."""
        return await self.run(operations.dataset(name))

    async def create_dataset(self, name: str, **fields: object) -> Dataset:
        """Create a dataset; fields are source_ids, title, description and so on."""
        return await self.run(operations.create_dataset(name, **fields))

    async def update_dataset(self, name: str, **fields: object) -> Dataset:
        """Change some settings of a dataset."""
        return await self.run(operations.update_dataset(name, **fields))

    async def delete_dataset(self, name: str) -> None:
        """Delete a dataset, with its labels, models and streams."""
        await self.run(operations.delete_dataset(name))

    async def streams(self, dataset: str) -> list[Stream]:
        """Return the streams of a dataset."""
        return await self.run(stream_operations.streams(dataset))

    async def create_stream(
        self,
        dataset: str,
        name: str,
        *,
        title: str = "",
        description: str = "",
        comment_filter: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Create a stream, which delivers what is stored from now on."""
        return await self.run(
            stream_operations.create_stream(
                dataset,
                name,
                title=title,
                description=description,
                comment_filter=comment_filter,
                model=model,
            )
        )

    async def labels(self, dataset: str) -> list[Label]:
        """Return the labels of a dataset."""
        return await self.run(operations.labels(dataset))

    async def put_labels(self, dataset: str, labels: Sequence[Label | str]) -> None:
        """Create labels, or change those that have these names."""
        await self.run(operations.put_labels(dataset, labels))

    async def annotated(self, dataset: str, uids: Sequence[str]) -> list[Annotated]:
        """Return comments with their annotations, in the order of the uids; at most 128."""
        return (await self.run(operations.annotated(dataset, uids))).results

    async def reviewed(
        self, dataset: str, source_id: str, *, limit: int = 256
    ) -> AsyncIterator[Annotated]:
        """Yield the annotated comments of a source, `limit` at a time."""
        after = None
        while True:
            page = await self.run(
                operations.annotated_page(dataset, source_id, after=after, limit=limit)
            )
            for one in page.results:
                yield one
            if not page.results or page.after is None or page.after == after:
                return
            after = page.after

    async def annotate(
        self,
        dataset: str,
        uid: str,
        *,
        assigned: Sequence[str] | None = None,
        dismissed: Sequence[str] | None = None,
        sentiment: Literal["positive", "negative"] = "positive",
    ) -> None:
        """Say which labels a comment has and has not; a list that is not given stays as it is."""
        await self.run(
            operations.annotate(
                dataset, uid, assigned=assigned, dismissed=dismissed, sentiment=sentiment
            )
        )

    async def sync_annotations(self, dataset: str, labels: Mapping[str, Sequence[str]]) -> None:
        """Set the labels of many comments: uid to names. All or none are stored."""
        await self.run(operations.sync_annotations(dataset, labels))

    async def users(self) -> list[User]:
        """Return all users that this one sees."""
        return await self.run(operations.users())

    async def user(self, user_id: str) -> User:
        """Return one user."""
        return await self.run(operations.user(user_id))

    async def create_user(
        self,
        username: str,
        email: str,
        *,
        project_permissions: Mapping[str, Sequence[str]] | None = None,
        global_permissions: Sequence[str] = (),
    ) -> User:
        """Create a user, with permissions by project."""
        return await self.run(
            operations.create_user(
                username,
                email,
                project_permissions=project_permissions or {},
                global_permissions=global_permissions,
            )
        )

    async def update_user(
        self,
        user_id: str,
        *,
        project_permissions: Mapping[str, Sequence[str]] | None = None,
        global_permissions: Sequence[str] | None = None,
    ) -> User:
        """Replace permissions of a user; what is not given stays as it is."""
        return await self.run(
            operations.update_user(
                user_id,
                project_permissions=project_permissions,
                global_permissions=global_permissions,
            )
        )

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; the token stops working at once."""
        await self.run(operations.delete_user(user_id))

    async def audit_events(
        self,
        *,
        minimum: datetime | None = None,
        maximum: datetime | None = None,
        limit: int = 128,
    ) -> AsyncIterator[AuditEvent]:
        """Yield what was done, from `minimum` to before `maximum`; `limit` at a time."""
        continuation = None
        while True:
            page = await self.run(
                operations.audit_page(
                    minimum=minimum, maximum=maximum, continuation=continuation, limit=limit
                )
            )
            for one in page.audit_events:
                yield one
            continuation = page.continuation
            if continuation is None:
                return
