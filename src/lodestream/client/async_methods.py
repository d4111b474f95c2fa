"""The methods of the client that awaits, area by area."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from lodestream.client import (
    admin_operations,
    bucket_operations,
    label_operations,
    model_operations,
    operations,
)
from lodestream.client.admin_operations import NewToken
from lodestream.client.calls import Call
from lodestream.client.shapes import (
    Annotated,
    Bucket,
    CommentPrediction,
    Email,
    History,
    KeyedSyncState,
    LabelGroup,
    Model,
    ModelTag,
    Predictions,
    Project,
    Quota,
    Token,
)

T = TypeVar("T")


class AsyncCaller(ABC):
    """What makes calls."""

    @abstractmethod
    async def run(self, call: Call[T]) -> T:
        """Make one. Raises Refused, Unreachable or BadAnswer."""


class AsyncAdminMethods(AsyncCaller):
    """Projects, quotas and tokens."""

    async def project(self, name: str) -> Project:
        """Return one project."""
        return await self.run(admin_operations.project(name))

    async def update_project(self, name: str, **fields: object) -> Project:
        """Change some settings of a project."""
        return await self.run(admin_operations.update_project(name, **fields))

    async def delete_project(self, name: str, *, force: bool = False) -> None:
        """Delete a project; with `force` all that is in it, too."""
        await self.run(admin_operations.delete_project(name, force=force))

    async def quotas(self) -> list[Quota]:
        """Return the quotas, with what is in use."""
        return await self.run(admin_operations.quotas())

    async def set_quota(
        self, kind: str, hard_limit: int, *, tenant_id: str, auto_increase_up_to: int | None = None
    ) -> None:
        """Set a limit of a tenant, and how far users may raise it themselves."""
        await self.run(
            admin_operations.set_quota(
                kind, hard_limit, tenant_id=tenant_id, auto_increase_up_to=auto_increase_up_to
            )
        )

    async def tokens(self, user_id: str) -> list[Token]:
        """Return the tokens of a user, without their secrets."""
        return await self.run(admin_operations.tokens(user_id))

    async def create_token(self, user_id: str, label: str = "") -> NewToken:
        """Make a token; its secret is told this once."""
        return await self.run(admin_operations.create_token(user_id, label))

    async def delete_token(self, token_id: str) -> None:
        """Revoke a token."""
        await self.run(admin_operations.delete_token(token_id))


class AsyncBucketMethods(AsyncCaller):
    """Buckets and their e-mails."""

    async def buckets(self, project: str | None = None) -> list[Bucket]:
        """Return all buckets, or those of a project."""
        return await self.run(bucket_operations.buckets(project))

    async def bucket(self, name: str) -> Bucket:
        """Return the bucket `project/name`."""
        return await self.run(bucket_operations.bucket(name))

    async def create_bucket(self, name: str, **fields: object) -> Bucket:
        """Create a bucket; a field is title."""
        return await self.run(bucket_operations.create_bucket(name, **fields))

    async def update_bucket(self, name: str, **fields: object) -> Bucket:
        """Change some settings of a bucket."""
        return await self.run(bucket_operations.update_bucket(name, **fields))

    async def delete_bucket(self, bucket_id: str) -> None:
        """Delete a bucket, by its id, with its e-mails; comments made of them stay."""
        await self.run(bucket_operations.delete_bucket(bucket_id))

    async def count_emails(self, name: str) -> int:
        """Return how many e-mails a bucket has."""
        return await self.run(bucket_operations.bucket_statistics(name))

    async def emails(self, name: str, *, limit: int = 64) -> AsyncIterator[Email]:
        """Yield the e-mails of a bucket in the order they were first stored, `limit` at a time."""
        continuation = None
        while True:
            page = await self.run(
                bucket_operations.emails_page(name, continuation=continuation, limit=limit)
            )
            for one in page.emails:
                yield one
            continuation = page.continuation
            if continuation is None:
                return

    async def sync_states(self, bucket_id: str) -> list[KeyedSyncState]:
        """Return where connectors are with every folder of a bucket, by its id."""
        return await self.run(bucket_operations.sync_states(bucket_id))


class AsyncLabelMethods(AsyncCaller):
    """Labels and label groups, and what people said of comments."""

    async def label_groups(self, dataset: str) -> list[LabelGroup]:
        """Return the label groups of a dataset, with their labels."""
        return await self.run(label_operations.label_groups(dataset))

    async def create_label_group(self, dataset: str, name: str, **fields: object) -> LabelGroup:
        """Create an empty label group."""
        return await self.run(label_operations.create_label_group(dataset, name, **fields))

    async def delete_label_group(self, dataset: str, name: str) -> None:
        """Delete a label group with its labels."""
        await self.run(label_operations.delete_label_group(dataset, name))

    async def update_label(
        self, dataset: str, name: str, /, *, group: str = "default", **fields: object
    ) -> int:
        """Change a label; a new `name` moves its children, too, or merges it with another.

        Returns of how many comments that changed the annotations.
        """
        found = await self.run(label_operations.update_label(dataset, name, group=group, **fields))
        return found.num_modified

    async def delete_label(self, dataset: str, name: str, *, group: str = "default") -> int:
        """Delete a label and all below it; return how many comments had it."""
        return (
            await self.run(label_operations.delete_label(dataset, name, group=group))
        ).num_modified

    async def annotation_history(
        self, dataset: str, uid: str, *, limit: int = 64, older_than_revision: int | None = None
    ) -> History:
        """Return the changes of a comment's annotations, the newest first."""
        return await self.run(
            label_operations.annotation_history(
                dataset, uid, limit=limit, older_than_revision=older_than_revision
            )
        )

    async def undo_annotation(self, dataset: str, uid: str, *, revision: int | None = None) -> int:
        """Take back a change of a comment's annotations, the last one unless a revision is given.

        Returns the revision afterwards.
        """
        return (
            await self.run(label_operations.undo_annotation(dataset, uid, revision=revision))
        ).revision


class AsyncDatasetMethods(AsyncCaller):
    """What is in sources and datasets."""

    async def count_comments(
        self, source: str, comment_filter: Mapping[str, Any] | None = None
    ) -> int:
        """Return how many comments of a source match a filter."""
        return (
            await self.run(operations.source_statistics(source, comment_filter or {}))
        ).num_comments

    async def dataset_statistics(self, dataset: str, **asked: object) -> dict[str, Any]:
        """Return counts of a dataset's comments; `asked` and answer are as the API has them."""
        return await self.run(operations.dataset_statistics(dataset, **asked))

    async def query(
        self, dataset: str, *, limit: int = 256, **asked: object
    ) -> AsyncIterator[Annotated]:
        """Yield comments of a dataset, `limit` at a time; fields are `filter`, `order` …"""
        continuation = None
        while True:
            more: dict[str, object] = {} if continuation is None else {"continuation": continuation}
            page = await self.run(operations.query_page(dataset, limit=limit, **asked, **more))
            for one in page.results:
                yield one
            continuation = page.continuation
            if continuation is None or not page.results:
                return

    async def attachment(self, reference: str) -> bytes:
        """Return the content of an attachment, by the reference in its comment."""
        return await self.run(operations.attachment(reference))


class AsyncModelMethods(AsyncCaller):
    """What a dataset has learnt."""

    async def models(self, dataset: str) -> list[Model]:
        """Return the models of a dataset, newest first."""
        return await self.run(model_operations.models(dataset))

    async def pin_model(self, dataset: str, version: int) -> None:
        """Keep a model, so that streams and predictions may use it."""
        await self.run(model_operations.pin_model(dataset, version))

    async def unpin_model(self, dataset: str, version: int) -> None:
        """Keep a model no longer. Raises Conflict while something uses it."""
        await self.run(model_operations.unpin_model(dataset, version))

    async def model_tags(self, dataset: str) -> list[ModelTag]:
        """Return which versions are live and staging."""
        return await self.run(model_operations.model_tags(dataset))

    async def tag_model(
        self, dataset: str, version: int, tag: Literal["live", "staging"]
    ) -> ModelTag:
        """Call a pinned version live or staging."""
        return await self.run(model_operations.tag_model(dataset, version, tag))

    async def predict(
        self,
        dataset: str,
        version: int | str,
        documents: Sequence[object],
        *,
        threshold: float | Literal["auto"] | None = None,
    ) -> Predictions:
        """Predict for texts that are not stored: mappings or structs with `messages`.

        `version` is a pinned one, or "live" or "staging".
        """
        return await self.run(model_operations.predict(dataset, version, documents, threshold))

    async def predict_comments(
        self,
        dataset: str,
        version: int | str,
        uids: Sequence[str],
        *,
        threshold: float | Literal["auto"] | None = None,
    ) -> list[CommentPrediction]:
        """Predict for stored comments, in the order of the uids."""
        return await self.run(model_operations.predict_comments(dataset, version, uids, threshold))

    async def update_model(self, dataset: str, version: int, **fields: object) -> Model:
        """Star or describe a model; fields are starred and description."""
        return await self.run(model_operations.update_model(dataset, version, **fields))

    async def untag_model(self, dataset: str, tag: Literal["live", "staging"]) -> None:
        """Take a tag away from its version."""
        await self.run(model_operations.untag_model(dataset, tag))

    async def validation(self, dataset: str, version: int | str) -> dict[str, Any]:
        """Return how good a version is, in short."""
        return await self.run(model_operations.validation(dataset, version))

    async def dataset_status(self, dataset: str) -> dict[str, Any]:
        """Return how far training, validation and predictions are."""
        return await self.run(model_operations.dataset_status(dataset))
