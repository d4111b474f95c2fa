"""What a user of the API does: make sources, datasets and streams, send comments, take them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.client import Client, WrongAnswer, dumps, loads
from bench.measure import Sample, Stopwatch
from bench.servers import Server

_PROJECT = "DefaultProject"


@dataclass(frozen=True)
class Source:
    """Where comments go."""

    path: str
    id: str


class Stream:
    """A stream, and the client that consumes it."""

    def __init__(self, client: Client, path: str, pids: Callable[[], list[int]]) -> None:
        self._client = client
        self._path = path
        self._pids = pids

    def through(self, client: Client) -> Stream:
        """Return the same stream, consumed by another client."""
        return Stream(client, self._path, self._pids)

    def rewind(self) -> None:
        """Go back to before the first comment there is."""
        body = {"to_comment_created_at": "1970-01-01T00:00:00Z"}
        self._client.call("POST", f"{self._path}/reset", body)

    def skip_to(self, sequence_id: str) -> None:
        """Go on to a place, without reading what lies before it."""
        self._client.call("POST", f"{self._path}/advance", {"sequence_id": sequence_id})

    def results(self, size: int) -> bytes:
        """Return the reply to a fetch, as it came."""
        return self._client.send("POST", f"{self._path}/fetch", dumps({"size": size}))

    def drain(
        self,
        wanted: Sequence[str],
        *,
        size: int,
        to_end: bool = False,
        places: list[str] | None = None,
    ) -> Sample:
        """Fetch and advance until `wanted` have come, or with `to_end` until the stream is empty.

        The sample counts the comments examined. `places` gets the sequence id of every batch.

        Raises WrongAnswer unless exactly the `wanted` came, each once and in this order.
        """
        client, examined = self._client, 0
        seen: list[str] = []
        fetch, advance, body = f"{self._path}/fetch", f"{self._path}/advance", dumps({"size": size})
        waits: list[float] = []
        places = [] if places is None else places
        watch = Stopwatch(self._pids())
        while to_end or len(seen) < len(wanted):
            start = time.perf_counter()
            reply = loads(client.send("POST", fetch, body))
            waits.append(time.perf_counter() - start)
            results = reply["results"]
            seen += [result["comment"]["id"] for result in results]
            examined += len(results) + reply["filtered"]
            place = reply["sequence_id"]
            places.append(place)
            client.send("POST", advance, dumps({"sequence_id": place}))
            if reply["is_end_sequence"]:
                break
        sample = watch.stop(examined, waits)
        check(seen, wanted)
        return sample


def check(seen: Sequence[str], wanted: Sequence[str], *, ordered: bool = True) -> None:
    """Raise WrongAnswer unless what was seen is what was wanted, each once (and in order)."""
    if list(seen) == list(wanted) or (not ordered and sorted(seen) == sorted(wanted)):
        return
    distinct = set(seen)
    raise WrongAnswer(
        f"{len(wanted)} comments wanted, {len(seen)} came: {len(set(wanted) - distinct)} missing, "
        f"{len(distinct - set(wanted))} foreign, {len(seen) - len(distinct)} more than once, "
        "or not in order"
    )


class Account:
    """A server, through one connection of its administrator."""

    def __init__(self, server: Server, *, accept_encoding: str = "identity") -> None:
        self._server = server
        self._client = server.client(accept_encoding=accept_encoding)

    def new_source(self, name: str) -> Source:
        """Make a source."""
        path = f"/api/v1/sources/{_PROJECT}/{name}"
        made = self._client.call("PUT", path, {"source": {"title": name}})
        return Source(path, made["source"]["id"])

    def new_stream(
        self,
        name: str,
        sources: Iterable[Source],
        comment_filter: dict[str, object] | None = None,
    ) -> Stream:
        """Make a dataset over sources and a stream of it, both of this name."""
        path = f"/api/v1/datasets/{_PROJECT}/{name}"
        source_ids = [source.id for source in sources]
        self._client.call("PUT", path, {"dataset": {"title": name, "source_ids": source_ids}})
        stream = {"name": name, "comment_filter": comment_filter or {}}
        self._client.call("PUT", f"{path}/streams", {"stream": stream})
        return Stream(self._client, f"{path}/streams/{name}", lambda: self._server.pids)

    def stream_beside(self, dataset: str, name: str, **definition: object) -> Stream:
        """Make one more stream of a dataset."""
        path = f"/api/v1/datasets/{_PROJECT}/{dataset}/streams"
        self._client.call("PUT", path, {"stream": {"name": name, **definition}})
        return Stream(self._client, f"{path}/{name}", lambda: self._server.pids)

    def sync(self, source: Source, batches: Iterable[bytes], *, count: int, did: str) -> Sample:
        """Send batches, `count` comments in all.

        Raises WrongAnswer unless the server says that all of them were `did`: "new", "unchanged"
        or "updated".
        """
        ready, waits, done = list(batches), [], 0
        watch = Stopwatch(self._server.pids)
        for body in ready:
            start = time.perf_counter()
            reply = self._client.send("POST", f"{source.path}/sync", body)
            waits.append(time.perf_counter() - start)
            done += loads(reply)[did]
        sample = watch.stop(count, waits)
        if done != count:
            raise WrongAnswer(f"of {count} comments sent, {done} were {did}")
        return sample
