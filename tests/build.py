"""Builders: what a test needs before it begins, in one line each.

Everything goes over HTTP as the given client. Names are full names, `project/name`; what a test
does not care about has a default.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from tests.client import Answer, Client

Json = dict[str, Any]

SOURCE = "acme/inbox"
DATASET = "acme/support"
STREAM = "acme/support/all"

_numbers = itertools.count(1)


def source_path(full_name: str = SOURCE) -> str:
    """The path of a source in the public namespace."""
    return f"/api/v1/sources/{full_name}"


def private_source_path(full_name: str = SOURCE) -> str:
    """The path of a source in the namespace of the vendor's own clients."""
    return f"/api/_private/sources/{full_name}"


def dataset_path(full_name: str = DATASET) -> str:
    """The path of a dataset."""
    return f"/api/v1/datasets/{full_name}"


def stream_path(full_name: str = STREAM, *, word: str = "streams") -> str:
    """The path of a stream; `word` may be `triggers`."""
    owner, dataset, name = full_name.split("/")
    return f"/api/v1/datasets/{owner}/{dataset}/{word}/{name}"


def make_source(client: Client, full_name: str = SOURCE, **settings: Any) -> Json:
    """Create a source and return it."""
    source: Json = client.ok("PUT", source_path(full_name), {"source": settings})["source"]
    return source


def source_ids(client: Client, full_names: Iterable[str]) -> list[str]:
    """Return the ids of the sources with these full names, in this order."""
    return [client.ok("GET", source_path(name))["source"]["id"] for name in full_names]


def make_dataset(
    client: Client, full_name: str = DATASET, *, sources: Sequence[str] = (SOURCE,)
) -> str:
    """Create a dataset of the sources with these full names; return its id."""
    definition = {"source_ids": source_ids(client, sources), "has_sentiment": False}
    dataset = client.ok("PUT", dataset_path(full_name), {"dataset": definition})["dataset"]
    dataset_id: str = dataset["id"]
    return dataset_id


def set_sources(client: Client, full_name: str, sources: Sequence[str]) -> None:
    """Make a dataset consist of the sources with these full names."""
    changes = {"source_ids": source_ids(client, sources)}
    client.ok("POST", dataset_path(full_name), {"dataset": changes})


def make_stream(client: Client, full_name: str = STREAM, **definition: Any) -> Json:
    """Create a stream and return it."""
    owner, dataset, name = full_name.split("/")
    path = f"/api/v1/datasets/{owner}/{dataset}/streams"
    reply = client.ok("PUT", path, {"stream": {"name": name, **definition}})
    stream: Json = reply["stream"]
    return stream


def make_pipeline(client: Client, **definition: Any) -> Json:
    """Create the source `SOURCE`, the dataset `DATASET` and the stream `STREAM`; return it."""
    make_source(client)
    make_dataset(client)
    return make_stream(client, **definition)


def make_comment(comment_id: str | None = None, text: str = "Hello", **fields: Any) -> Json:
    """Return a comment as a client writes it, with a new id unless one is given."""
    return {
        "id": f"c{next(_numbers)}" if comment_id is None else comment_id,
        "timestamp": "2024-02-01T08:00:00.000000Z",
        "messages": [{"body": {"text": text}}],
        **fields,
    }


def team(name: str) -> Json:
    """Return the fields of a comment whose user property `string:Team` is `name`."""
    return {"user_properties": {"string:Team": name}}


def only_team(name: str) -> Json:
    """Return the filter that passes comments of one `team`."""
    return {"user_properties": {"string:Team": {"one_of": [name]}}}


def sync(client: Client, comments: Iterable[Json], source: str = SOURCE) -> Json:
    """Create or overwrite comments, in one batch; return the counts."""
    counts: Json = client.ok("POST", source_path(source) + "/sync", {"comments": list(comments)})
    return counts


def sync_ids(client: Client, *ids: str, source: str = SOURCE, **fields: Any) -> None:
    """Upload comments with these ids, in this order, in one batch."""
    sync(client, [make_comment(one, **fields) for one in ids], source)


def delete_ids(client: Client, *ids: str, source: str = SOURCE) -> None:
    """Delete comments by id."""
    query = "&".join(f"id={one}" for one in ids)
    client.ok("DELETE", f"{source_path(source)}/comments?{query}")


def fetch(client: Client, stream: str = STREAM, size: int = 1024, **more: Any) -> Json:
    """Fetch the next batch of a stream."""
    reply: Json = client.ok("POST", stream_path(stream) + "/fetch", {"size": size, **more})
    return reply


def results(client: Client, stream: str = STREAM, query: str = "max_results=1024") -> Json:
    """Get the next batch of a stream in the newer form."""
    reply: Json = client.ok("GET", f"{stream_path(stream)}/results?{query}")
    return reply


def try_advance(client: Client, sequence_id: object, stream: str = STREAM) -> Answer:
    """Advance a stream, whatever the answer is."""
    return client.post(stream_path(stream) + "/advance", {"sequence_id": sequence_id})


def advance(client: Client, sequence_id: str, stream: str = STREAM) -> str:
    """Advance a stream; return the position it is at then."""
    reply = client.ok("POST", stream_path(stream) + "/advance", {"sequence_id": sequence_id})
    position: str = reply["sequence_id"]
    return position


def reset(client: Client, instant: str, stream: str = STREAM) -> str:
    """Reset a stream to an instant; return the position it is at then."""
    body = {"to_comment_created_at": instant}
    position: str = client.ok("POST", stream_path(stream) + "/reset", body)["sequence_id"]
    return position


def ids_of(batch: Json) -> list[str]:
    """Return the ids of the comments of a batch, in order."""
    return [result["comment"]["id"] for result in batch["results"]]
