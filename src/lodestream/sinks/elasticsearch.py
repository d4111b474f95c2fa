"""Sinks of kind `elasticsearch`: documents of an index, by `_bulk`.

(Contract: integrations, 8.) What is used is common to Elasticsearch from 7.8 on and OpenSearch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import urllib3
from msgspec import UNSET, Struct

from lodestream.domain.deliveries import Done, Failed, Later, Outcome, Refused, Rejected
from lodestream.domain.sinks import Elasticsearch
from lodestream.sinks.http import Answer, Caller, meaning
from lodestream.sinks.results import Item, Result, decode, with_parents

MOST_BODY_BYTES: Final = 8 << 20
MOST_ANSWER_BYTES: Final = 64 << 20
MOST_ID_BYTES: Final = 512
_MOST_KEYWORD_CHARS: Final = 8191  # Lucene takes terms of at most 32766 bytes

_KEYWORDS: Final = (
    *("uid", "id", "source_id", "thread_id", "sequence_id", "from", "to", "cc", "bcc"),
    *("attachments", "labels"),
)

encode = msgspec.json.Encoder().encode


def document_id(uid: str) -> str:
    """Return a comment's uid as the `_id` of its document; what is too long for one, hashed."""
    raw = uid.encode()
    return uid if len(raw) <= MOST_ID_BYTES else "sha256-" + sha256(raw).hexdigest()


def document(result: Result) -> dict[str, Any]:
    """Flatten a result to a document."""
    comment = result.comment
    labels = sorted(with_parents(result.probabilities()).items(), key=lambda one: -one[1])
    made: dict[str, Any] = {
        "uid": comment.uid,
        "id": comment.id,
        "source_id": comment.source_id,
        "thread_id": None if comment.thread_id is UNSET else comment.thread_id,
        "timestamp": comment.timestamp,
        "created_at": comment.created_at,
        "sequence_id": result.sequence_id,
        "subject": list(result.messages("subject")),
        "body": list(result.messages("body")),
        "from": result.people("from_"),
        "to": result.people("to"),
        "cc": result.people("cc"),
        "bcc": result.people("bcc"),
        "attachments": [one.name for one in comment.attachments],
        "properties": {_flat(name): x for kind, name, x in result.properties() if kind == "string"},
        "numbers": {_flat(name): x for kind, name, x in result.properties() if kind == "number"},
        "labels": [name for name, _ in labels],
        "label_probabilities": [{"name": name, "probability": value} for name, value in labels],
        "entities": {_flat(name): found for name, found in result.entity_values().items()},
    }
    for one in result.label_properties:
        if one.value is not None:
            made.setdefault("scores", {})[_flat(one.property_name)] = one.value
    return {name: value for name, value in made.items() if value not in (None, [], {})}


def _flat(name: str) -> str:
    # A dot would make an object of a field, and clash with a field named like its beginning.
    return name.replace(".", "_").strip() or "_"


def template(index: str) -> dict[str, Any]:
    """Return the index template: dates, keywords, numbers and texts, whatever they are named."""
    keyword = {"type": "keyword", "ignore_above": _MOST_KEYWORD_CHARS}
    text = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}
    date = {"type": "date"}
    dynamic = [
        {f"{name}_as_{kind['type']}": {"path_match": f"{name}.*", "mapping": kind}}
        for name, kind in (
            ("properties", keyword),
            ("numbers", {"type": "double"}),
            ("entities", keyword),
            ("scores", {"type": "double"}),
        )
    ]
    return {
        "index_patterns": [index],
        "template": {
            "mappings": {
                "dynamic_templates": dynamic,
                "properties": {
                    **dict.fromkeys(_KEYWORDS, keyword),
                    **dict.fromkeys(("timestamp", "created_at"), date),
                    **dict.fromkeys(("subject", "body"), text),
                    "label_probabilities": {
                        "type": "nested",
                        "properties": {"name": keyword, "probability": {"type": "double"}},
                    },
                },
            }
        },
    }


class _Error(Struct):
    type: str = "error"
    reason: str | None = None


class _ItemAnswer(Struct):
    status: int
    error: _Error | str | None = None


class _BulkAnswer(Struct):
    items: list[dict[str, _ItemAnswer]]


class ElasticsearchSink:
    """Indexes comments, each as the document that has its uid as `_id`."""

    def __init__(self, settings: Elasticsearch) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/")
        self._caller = Caller(timeout_s=settings.timeout_s)
        self._is_prepared = not settings.make_template
        self._headers: dict[str, str] = {}
        if settings.api_key is not UNSET:
            self._headers["authorization"] = f"ApiKey {settings.api_key}"
        elif settings.username is not UNSET:
            password = "" if settings.password is UNSET else settings.password
            self._headers = urllib3.make_headers(basic_auth=f"{settings.username}:{password}")

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Index comments; each has its own outcome. Raises Gone."""
        problem = self._prepare()
        if problem is not None:
            return [problem] * len(items)
        outcomes: list[Outcome] = []
        for count, body in _bodies(items):
            found = self._bulk(count, body)
            outcomes += found
            if any(isinstance(one, Later | Failed) for one in found):
                break
        # What was not sent waits for what stopped before it.
        return outcomes + [Later("not sent yet")] * (len(items) - len(outcomes))

    def check(self) -> Outcome:
        """Ask the cluster for its name, with the sink's credentials, and store the template."""
        answer = self._call("GET", "/", None)
        problem = meaning(answer) if isinstance(answer, Answer) else answer
        return problem if not isinstance(problem, Done) else self._prepare() or problem

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _prepare(self) -> Outcome | None:
        """Store the index template if there is none; return what is in the way."""
        if self._is_prepared:
            return None
        path = f"/_index_template/lodestream-{self._settings.index}"
        answer = self._call("GET", path, None)
        if isinstance(answer, Answer) and answer.status == 404:
            answer = self._call("PUT", path, encode(template(self._settings.index)))
        if not isinstance(answer, Answer):
            return answer
        if answer.status >= 300:
            # Whatever it is, no comment is the cause.
            detail = answer.body.decode("utf-8", "replace")
            return Later(f"index template: HTTP {answer.status}", detail, answer.retry_after_s)
        self._is_prepared = True
        return None

    def _bulk(self, count: int, body: bytes) -> list[Outcome]:
        kind = "application/x-ndjson"
        wanted = "filter_path=items.*.status,items.*.error.type,items.*.error.reason"
        path = f"/{self._settings.index}/_bulk?{wanted}"
        answer = self._call("POST", path, body, kind=kind, most_bytes=MOST_ANSWER_BYTES)
        if not isinstance(answer, Answer):
            return [answer] * count
        said = meaning(answer)
        if not isinstance(said, Done):
            return [said] * count
        try:
            found = msgspec.json.decode(answer.body, type=_BulkAnswer).items
        except msgspec.DecodeError:
            found = []
        if len(found) != count:
            return [Later("the answer is not one of a bulk request")] * count
        return _outcomes([next(iter(one.values())) for one in found])

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        kind: str = "application/json",
        most_bytes: int = 1024,
    ) -> Answer | Later | Failed:
        headers = {**self._headers, "content-type": kind}
        return self._caller.call(method, self._base + path, body, headers, most_bytes=most_bytes)


def _bodies(items: Sequence[Item]) -> Iterator[tuple[int, bytes]]:
    """Yield (number of comments, body) of the requests that together carry the comments."""
    parts: list[bytes] = []
    size = count = 0
    for item in items:
        action = encode({"index": {"_id": document_id(item.uid)}})
        part = b"%s\n%s\n" % (action, encode(document(decode(item.json))))
        if parts and size + len(part) > MOST_BODY_BYTES:
            yield count, b"".join(parts)
            parts, size, count = [], 0, 0
        parts.append(part)
        size += len(part)
        count += 1
    if parts:
        yield count, b"".join(parts)


def _outcomes(found: Sequence[_ItemAnswer]) -> list[Outcome]:
    # A document that is refused while others are taken is at fault itself; where all are refused,
    # the index may be.
    some_taken = any(one.status < 300 for one in found)
    return [_outcome(one, some_taken=some_taken) for one in found]


def _outcome(one: _ItemAnswer, *, some_taken: bool) -> Outcome:
    if one.status < 300:
        return Done()
    error = one.error if isinstance(one.error, _Error) else _Error(reason=one.error)
    reason, detail = f"{error.type}, status {one.status}", error.reason or ""
    if one.status == 429 or one.status >= 500 or one.status in (401, 403, 404):
        return Later(reason, detail)
    return Rejected(reason, detail) if some_taken else Refused(reason, detail)
