"""The operations on one stream, each as a call that is ready to be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from lodestream.client.calls import Call, call, full_name, inside, nothing, part, query, whole
from lodestream.client.deliveries import Batch, FieldsBatch
from lodestream.client.operations import dataset_path
from lodestream.client.shapes import Stream

_stream: Final = inside("stream", Stream)
_streams: Final = inside("streams", list[Stream])
_OURS: Final = "/api/lodestream/v1/datasets"

_status: Final = inside("stream", dict[str, Any])
_statuses: Final = inside("streams", list[dict[str, Any]])
_batch: Final = whole(Batch)
_fields_batch: Final = whole(FieldsBatch)


class _Moved(msgspec.Struct):
    sequence_id: str


_moved: Final = msgspec.json.Decoder(_Moved)


def _place(content: bytes | bytearray) -> str:
    return _moved.decode(content).sequence_id


def streams(dataset: str) -> Call[list[Stream]]:
    """All streams of a dataset."""
    return call("GET", f"{dataset_path(dataset)}/streams", decode=_streams)


def create_stream(
    dataset: str,
    name: str,
    *,
    title: str,
    description: str,
    comment_filter: Mapping[str, Any] | None,
    model: Mapping[str, Any] | None,
) -> Call[Stream]:
    """A new stream, which begins now."""
    given: dict[str, object] = {"name": name, "title": title, "description": description}
    if comment_filter is not None:
        given["comment_filter"] = comment_filter
    if model is not None:
        given["model"] = model
    return call("PUT", f"{dataset_path(dataset)}/streams", {"stream": given}, decode=_stream)


def streams_status(dataset: str) -> Call[list[dict[str, Any]]]:
    """How every stream of a dataset does; only Lodestream itself tells."""
    return call("GET", f"{_OURS}/{full_name(dataset)}/streams", decode=_statuses)


def stream_status(dataset: str, name: str) -> Call[dict[str, Any]]:
    """How one stream does; only Lodestream itself tells."""
    path = f"{_OURS}/{full_name(dataset)}/streams/{part(name)}/status"
    return call("GET", path, decode=_status)


@dataclass(frozen=True)
class StreamCalls:
    """The calls of the stream at a path."""

    path: str

    @classmethod
    def of(cls, name: str) -> StreamCalls:
        """Return those of `project/dataset/name`. Raises ValueError for anything else."""
        dataset, slash, own = name.rpartition("/")
        if not slash or not own:
            raise ValueError(f"{name!r} is no stream: project/dataset/name expected")
        return cls(f"/api/v1/datasets/{full_name(dataset)}/streams/{part(own)}")

    def get(self) -> Call[Stream]:
        """Its definition."""
        return call("GET", self.path, decode=_stream)

    def update(self, **fields: object) -> Call[Stream]:
        """Some of its definition."""
        return call("POST", self.path, {"stream": fields}, decode=_stream, idempotent=True)

    def delete(self) -> Call[None]:
        """The stream, to be deleted."""
        return call("DELETE", self.path, decode=nothing, gone_is_done=True)

    def fetch(self, size: int, max_filtered: int | None) -> Call[Batch]:
        """What stands behind its position."""
        body = {"size": size}
        if max_filtered is not None:
            body["max_filtered"] = max_filtered
        # Reading changes nothing.
        return call("POST", f"{self.path}/fetch", body, decode=_batch, idempotent=True)

    def results(self, max_results: int | None, max_filtered: int | None) -> Call[FieldsBatch]:
        """What stands behind its position, with extracted fields."""
        asked = query(max_results=max_results, max_filtered=max_filtered)
        return call("GET", f"{self.path}/results{asked}", decode=_fields_batch)

    def advance(self, sequence_id: str) -> Call[str]:
        """The place up to which all is done."""
        body = {"sequence_id": sequence_id}
        # A stream never moves back by this, so that twice is as once.
        return call("POST", f"{self.path}/advance", body, decode=_place, idempotent=True)

    def reset(self, to: datetime | str) -> Call[str]:
        """The instant from which on stored comments are delivered again."""
        at = to if isinstance(to, str) else to.isoformat()
        body = {"to_comment_created_at": at}
        # Repeated late, it could undo what another consumer has done in between.
        return call("POST", f"{self.path}/reset", body, decode=_place, idempotent=False)

    def tag(self, uids: Sequence[str], reason: str) -> Call[None]:
        """Comments that could not be handled, and why."""
        given = [{"uid": uid, "metadata": {"type": reason}} for uid in uids]
        return call("PUT", f"{self.path}/exceptions", {"exceptions": given}, decode=nothing)

    def untag(self, uids: Sequence[str]) -> Call[None]:
        """Comments that are no longer exceptions."""
        return call("DELETE", f"{self.path}/exceptions{query(uid=uids)}", decode=nothing)
