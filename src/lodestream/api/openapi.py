"""The route table as an OpenAPI 3.1 document, and the page that shows it.

Everything comes from the rows and the structs they name; what is written here is only what a
struct cannot say: the patterns of path parameters, and the shapes behind JSON that the server
passes on as text.
"""

from __future__ import annotations

import inspect
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream import __version__
from lodestream.api.calls import Call
from lodestream.api.http import Reply
from lodestream.api.routing import Guard, Query, Route
from lodestream.domain import filters, ids
from lodestream.domain.comments import Attachment, Message, PropertyValue
from lodestream.domain.models import TAGS, VERSION

Json = dict[str, Any]

AREAS: Final = {
    "sources": "Named collections of comments.",
    "comments": "Messages of any kind: put them in, read them, delete them.",
    "attachments": "Files that belong to comments.",
    "datasets": "Sources seen together, with labels and fields.",
    "label_defs": "The labels of a dataset.",
    "label_groups": "Groups of labels.",
    "models": "What a dataset has learnt: versions, predictions, how good they are.",
    "streams": "Durable cursors over the comments of a dataset.",
    "triggers": "Streams under their old name.",
    "annotations": "Labels of comments one by one, their history, and the way back.",
    "status": "How streams and their consumers do.",
    "sinks": "Places outside that follow a stream, each with its own cursor.",
    "users": "Users and their tokens.",
    "permissions": "What permissions imply.",
    "projects": "What everything else belongs to.",
    "quotas": "How much of everything there may be.",
    "tenants": "The one tenant of this server.",
    "audit_events": "Who changed what.",
    "buckets": "Collections of raw e-mails.",
    "emails": "E-mails in buckets.",
    "integrations": "Connections to mailboxes.",
    "system": "Health, metrics and this description.",
}

_TEXT: Final[Json] = {"type": "string", "minLength": 1}
_ID: Final[Json] = {"type": "string", "pattern": ids.HEX16}
_NAME: Final[Json] = {"type": "string", "pattern": ids.RESOURCE_NAME}
_PROJECT: Final[Json] = {"type": "string", "pattern": ids.PROJECT_NAME}
PATH_PARAMETERS: Final[dict[str, Json]] = {
    "owner": {**_PROJECT, "description": "Name of a project."},
    "name": {**_PROJECT, "description": "Name of a project."},
    "source_name": {**_NAME, "description": "Name of a source in the project."},
    "dataset_name": {**_NAME, "description": "Name of a dataset in the project."},
    "stream_name": {**_NAME, "description": "Name of a stream of the dataset."},
    "trigger_name": {**_NAME, "description": "Name of a stream of the dataset."},
    "sink_name": {**_NAME, "description": "Name of a sink of the stream."},
    "source_id": {**_ID, "description": "Id of a source."},
    "dataset_id": {**_ID, "description": "Id of a dataset."},
    "user_id": {**_ID, "description": "Id of a user."},
    "token_id": {**_ID, "description": "Id of a token."},
    "comment_id": {
        "type": "string",
        "pattern": ids.COMMENT_ID,
        "description": "Id of a comment, as its uploader chose it.",
    },
    "attachment_index": {
        "type": "integer",
        "minimum": 0,
        "maximum": 127,
        "description": "Place in the comment's `attachments`, from 0.",
    },
    "attachment_reference": {**_TEXT, "description": "`attachment_reference` of an attachment."},
    "labelling_id": {**_TEXT, "description": "Uid of a comment, `<source id>.<comment id>`."},
    "label_group_name": {**_TEXT, "description": "Name of a label group; `default` always exists."},
    "model_version": {
        "type": "string",
        "pattern": VERSION,
        "description": "Number of a model version; to predict also `live` or `staging`, to see how "
        "good it is also `latest`.",
    },
    "tag_name": {"type": "string", "enum": list(TAGS), "description": "Name of a tag."},
    "training_action_id": {**_TEXT, "description": "Id of a training action, a UUID."},
    "comment_uid": {**_TEXT, "description": "Uid of a comment, `<source id>.<comment id>`."},
    "bucket_name": {**_NAME, "description": "Name of a bucket in the project."},
    "bucket_id": {**_ID, "description": "Id of a bucket."},
    "raw_bucket_id": {**_ID, "description": "Id of a bucket."},
    "integration_name": {**_NAME, "description": "Name of an integration in the project."},
    "integration_id": {**_ID, "description": "Id of an integration."},
    "config_key": {**_TEXT, "description": "Name of a connector's configuration."},
    "email_id": {**_TEXT, "description": "Id of an e-mail, as its sender chose it."},
    "sync_state_key": {**_TEXT, "description": "Key of a sync state, as the connector chose it."},
    "transform_tag": {**_TEXT, "description": "An e-mail transform tag, `<name>.<version>.<id>`."},
    "quota_kind": {**_TEXT, "description": "Kind of a quota, as they are listed."},
    "target_tenant_id": {**_TEXT, "description": "Id or name of the tenant."},
    "tenant_name": {**_TEXT, "description": "Name of the tenant."},
}

_ERRORS: Final = {
    400: "The request breaks a rule of this description.",
    401: "No token, or one that is unknown or revoked.",
    403: "The token is good, a permission is missing.",
    404: "There is no such thing, or the caller may not see it.",
    405: "The path has no such method; a slash in a name makes it another path.",
    409: "The name is taken, or the present state forbids the change.",
    413: "The body is larger than the server takes.",
    416: "The range lies outside the file.",
    422: "A well-formed value names something unusable.",
    429: "Too many requests; try again after `Retry-After` seconds.",
    503: "The database cannot be reached, or is not migrated.",
}

# What an answer gives to the next call: operation → operation → where its parameters come from;
# those that both have in their paths are passed on besides.
_LINKS: Final[dict[str, dict[str, dict[str, str]]]] = {
    "createSource": {
        "getSource": {},
        "getSourceById": {"source_id": "$response.body#/source/id"},
        "syncComments": {},
        "deleteSource": {"source_id": "$response.body#/source/id"},
    },
    "syncComments": {
        "getComment": {"comment_id": "$request.body#/comments/0/id"},
        "getSourceComments": {},
        "deleteComment": {"id": "$request.body#/comments/0/id"},
    },
    "getSourceComments": {"getComment": {"comment_id": "$response.body#/comments/0/id"}},
    "createDataset": {
        "getDataset": {},
        "getDatasetById": {"dataset_id": "$response.body#/dataset/id"},
        "createStream": {},
        "deleteDatasetV1": {},
    },
    "createStream": {
        "getStreamByName": {"stream_name": "$response.body#/stream/name"},
        "fetchFromStream": {"stream_name": "$response.body#/stream/name"},
        "getStreamResults": {"stream_name": "$response.body#/stream/name"},
        "resetStream": {"stream_name": "$response.body#/stream/name"},
        "deleteStream": {"stream_name": "$response.body#/stream/name"},
    },
    "fetchFromStream": {"advanceStream": {}},
    "getCurrentUser": {
        "getUserById": {"user_id": "$response.body#/user/id"},
        "createToken": {"user_id": "$response.body#/user/id"},
    },
    "createUser": {
        "getUserById": {"user_id": "$response.body#/user/id"},
        "deleteUser": {"user_id": "$response.body#/user/id"},
    },
    "createToken": {"deleteToken": {"token_id": "$response.body#/token/id"}},
    "createProject": {"getProject": {}, "deleteProject": {}},
}
_LINKED_BODIES: Final = {
    ("fetchFromStream", "advanceStream"): {"sequence_id": "$response.body#/sequence_id"},
}

# JSON that is stored and sent as it came: its schema by the name of the field.
_PASSED_ON: Final[dict[str, Json]] = {
    "comment": {"$ref": "#/components/schemas/Comment"},
    "comments": {"$ref": "#/components/schemas/Comment"},
    "comment_filter": {"$ref": "#/components/schemas/CommentFilter"},
    "text_markup": {"type": ["array", "object"]},
    "translated_from_markup": {"type": ["array", "object"]},
    "label": {"type": "object"},
    "label_defs": {"type": "object"},
    "configuration": {
        "anyOf": [
            {"$ref": "#/components/schemas/ExchangeConfiguration"},
            {"$ref": "#/components/schemas/ImapConfiguration"},
        ]
    },
}


class Comment(Struct):
    """A comment as clients see it."""

    uid: str
    id: str
    source_id: str
    timestamp: str
    messages: list[Message]
    user_properties: dict[str, PropertyValue]
    attachments: list[Attachment]
    created_at: str
    last_modified: str
    context: str
    thread_id: str | UnsetType = UNSET
    text_format: str | UnsetType = UNSET
    has_annotations: bool | UnsetType = UNSET


class ErrorReply(Struct):
    """Why a request was refused, for people to read."""

    status: str
    message: str


class OkReply(Struct):
    """It is done."""

    status: str = "ok"


class Description:
    """The OpenAPI document of `routes`, made when it is first asked for."""

    def __init__(self) -> None:
        self.routes: tuple[Route, ...] = ()

    @cached_property
    def json(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(document(self.routes))

    def get(self, _call: Call[Any]) -> Reply:
        """Return this API's description as an OpenAPI 3.1 document."""
        return Reply(self.json)


def get_page(_call: Call[Any]) -> Reply:
    """Return a page on which to read about the operations and to try them."""
    page = files("lodestream.api").joinpath("docs.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    # The page holds a token: no script runs in it but its own, and it talks to this server only.
    policy = (
        b"default-src 'none'; script-src 'sha256-%s'; style-src 'unsafe-inline'; "
        b"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'"
    ) % b64encode(sha256(script).digest())
    headers = [
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]
    return Reply(page, content_type=b"text/html; charset=utf-8", headers=headers)


def document(routes: Sequence[Route]) -> Json:
    """Return the OpenAPI 3.1 document of the routes."""
    paths: dict[str, Json] = {}
    components = _components(routes)
    for route in routes:
        # Two paths that differ in the names of parameters only are one path: the first names them.
        path = next((known for known in paths if _shape(known) == _shape(route.path)), route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    _add_links(paths)
    areas = dict.fromkeys(route.area for route in routes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lodestream",
            "version": __version__,
            "summary": "Comments in, durable streams out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"header": []}],
        "tags": [{"name": area, "description": AREAS[area]} for area in areas],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                str(status): _response(meaning, {"$ref": "#/components/schemas/ErrorReply"})
                for status, meaning in _ERRORS.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    }


def _add_links(paths: dict[str, Json]) -> None:
    operations = {
        operation["operationId"]: operation
        for methods in paths.values()
        for operation in methods.values()
    }
    for name, targets in _LINKS.items():
        links: Json = {}
        for target, given in targets.items():
            known = {one["name"] for one in operations[name]["parameters"] if one["in"] == "path"}
            needed = [one["name"] for one in operations[target]["parameters"]]
            shared = {one: f"$request.path.{one}" for one in needed if one in known}
            links[target] = {"operationId": target, "parameters": {**shared, **given}}
            body = _LINKED_BODIES.get((name, target))
            if body is not None:
                links[target]["requestBody"] = body
        operations[name]["responses"]["200"]["links"] = links


def summary_of(route: Route) -> tuple[str, str]:
    """Return the first sentence of what a route does, and the rest."""
    text = _paragraphs(inspect.cleandoc(route.handler.__doc__ or ""))
    match = re.match(r"(.+?)\.(?:\s+|$)(.*)", text, re.DOTALL)
    return (match[1], match[2]) if match else (text, "")


def permissions_of(route: Route) -> Json:
    """Return what a caller of a route must hold."""
    needs = route.needs
    told: Json = {"guard": needs.guard.name.lower(), "meaning": needs.guard.value}
    if needs.permissions:
        told["permissions"] = list(needs.permissions)
    if needs.rule:
        told["rule"] = needs.rule
    return told


def _shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def _operation(route: Route, path: str) -> Json:
    names = re.findall(r"\{(\w+)\}", path)
    first, rest = summary_of(route)
    operation: Json = {
        "operationId": route.operation,
        "tags": [route.area],
        "summary": first,
        "parameters": [
            *map(_path_parameter, names, route.parameters),
            *map(_query, route.query),
        ],
        "responses": _responses(route),
        "x-permissions": permissions_of(route),
    }
    if rest:
        operation["description"] = rest
    if route.needs.guard is Guard.PUBLIC:
        operation["security"] = []
    body = _request_body(route)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _path_parameter(name: str, meaning: str) -> Json:
    schema = dict(PATH_PARAMETERS[meaning])
    described = {"description": schema.pop("description")} if "description" in schema else {}
    return {"name": name, "in": "path", "required": True, **described, "schema": _plain(schema)}


def _query(query: Query) -> Json:
    schema: Json = {"type": query.kind}
    if query.minimum is not None:
        schema["minimum"] = query.minimum
    if query.maximum is not None:
        schema["maximum"] = query.maximum
    if query.repeated:
        schema = {"type": "array", "items": schema}
        if query.required:
            schema["minItems"] = 1
    return {"name": query.name, "in": "query", "required": query.required, "schema": schema}


def _request_body(route: Route) -> Json | None:
    if route.body is not None:
        content = {"application/json": {"schema": _reference(route.body)}}
        return {"required": not route.body_optional, "content": content}
    if route.raw_body is None:
        return None
    binary = {"type": "string", "format": "binary"}
    content = {route.raw_body: {"schema": binary}}
    if route.raw_body == "multipart/form-data":
        form = {"type": "object", "required": ["file"], "properties": {"file": binary}}
        content = {
            route.raw_body: {"schema": form},
            "application/octet-stream": {"schema": binary},
        }
    return {"required": True, "content": content}


def _responses(route: Route) -> Json:
    if route.reply_type == "application/json":
        done = _response("Done.", _reference(route.reply or OkReply))
    else:
        done = {"description": "Done.", "content": {route.reply_type: {"schema": {}}}}
    statuses = {200: done}
    if 206 in route.statuses:
        statuses[206] = {**done, "description": "The range that was asked for."}
    refusals = {400, 429, 503, *(status for status in route.statuses if status in _ERRORS)}
    if route.needs.guard is not Guard.PUBLIC:
        refusals |= {401, 403, 404}
    if route.parameters:
        refusals.add(405)
    if route.body is not None or route.raw_body is not None:
        refusals |= {413, 422}
    if route.is_write:
        refusals |= {409, 422}
    for status in sorted(refusals):
        statuses[status] = {"$ref": f"#/components/responses/{status}"}
    return {str(status): response for status, response in statuses.items()}


def _response(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_REFERENCE: Final = "#/components/schemas/{name}"


def _reference(kind: type) -> Json:
    if kind is dict:
        return {"type": "object"}
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _components(routes: Sequence[Route]) -> dict[str, Json]:
    requests = [route.body for route in routes if route.body is not None]
    replies = [route.reply for route in routes if route.reply not in (None, dict)]
    own = (Comment, ErrorReply, OkReply, *_FILTER_PARTS)
    kinds = list(dict.fromkeys((*requests, *replies, *own)))
    _, found = msgspec.json.schema_components(
        kinds, ref_template=_REFERENCE, schema_hook=_scalar_schema
    )
    schemas: dict[str, Json] = {name: _plain(schema) for name, schema in found.items()}
    schemas["CommentFilter"] = _comment_filter(schemas.pop(filters.WireFilter.__name__))
    for schema in schemas.values():
        _tell_passed_on(schema)
    sent = _reachable(schemas, (kind.__name__ for kind in requests))
    omitting = {kind.__name__ for kind in _structs(replies) if kind.__struct_config__.omit_defaults}
    for name, schema in schemas.items():
        if name not in sent:
            _require_what_is_always_there(schema, omits=name in omitting)
    for kind in (*replies, OkReply):
        schemas[kind.__name__]["properties"]["status"] = {"const": "ok"}
    schemas["OkReply"]["additionalProperties"] = False
    schemas["ErrorReply"]["properties"]["status"] = {"const": "error"}
    return schemas


_FILTER_PARTS: Final = (
    filters.WireFilter,
    filters.StringPropertyFilter,
    filters.NumberPropertyFilter,
)


def _comment_filter(schema: Json) -> Json:
    parts = [{"$ref": _REFERENCE.format(name=part.__name__)} for part in _FILTER_PARTS[1:]]
    schema["title"] = "CommentFilter"
    schema["description"] = "Which comments are meant; every key that is given must hold."
    schema["properties"]["user_properties"]["additionalProperties"] = {"anyOf": parts}
    return schema


def _scalar_schema(kind: type) -> Json:
    if kind is filters.Instant:
        return {"type": "string", "description": "An ISO 8601 instant; without zone in UTC."}
    if kind is filters.Number:
        return {"type": ["number", "string"]}
    raise NotImplementedError(kind)


def _plain(value: Any) -> Any:
    """Return a schema without what is Python's own, its texts brought into lines."""
    if isinstance(value, dict):
        named = isinstance(value.get("title"), str)
        plain = {k: _plain(inner) for k, inner in value.items() if not (named and k == "title")}
        if isinstance(plain.get("pattern"), str):
            # Python's `$` also matches before a last line feed; that of ECMA does not.
            plain["pattern"] = plain["pattern"].replace(r"(?!\n)", "")
        if isinstance(plain.get("description"), str):
            plain["description"] = _paragraphs(inspect.cleandoc(plain["description"]))
        return plain
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _tell_passed_on(schema: Json) -> None:
    for name, inner in schema.get("properties", {}).items():
        known = _PASSED_ON.get(name)
        if known is not None and not inner:
            inner.update(known)
        elif known is not None and inner.get("items") == {}:
            inner["items"] = known


def _require_what_is_always_there(schema: Json, *, omits: bool) -> None:
    """Mark the fields of a reply that have a default: they are sent all the same."""
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        if "default" in inner:
            del inner["default"]
            if not omits:
                required.append(name)
    if required:
        schema["required"] = required


def _reachable(schemas: dict[str, Json], names: Iterable[str]) -> frozenset[str]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _references(schemas[name])
    return frozenset(seen)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        target = value.get("$ref")
        if isinstance(target, str):
            yield target.rpartition("/")[2]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _structs(kinds: Iterable[type]) -> set[type[Struct]]:
    """Return every struct inside some types, themselves included."""
    found: set[type[Struct]] = set()
    waiting: list[msgspec.inspect.Type] = list(msgspec.inspect.multi_type_info(kinds))
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                continue
            found.add(info.cls)
            waiting += [one.type for one in info.fields]
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.TupleType):
            waiting += info.item_types
        elif isinstance(info, msgspec.inspect.DictType):
            waiting.append(info.value_type)
        elif isinstance(info, msgspec.inspect.CollectionType | msgspec.inspect.Metadata):
            waiting.append(
                info.type if isinstance(info, msgspec.inspect.Metadata) else info.item_type
            )
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _paragraphs(text: str) -> str:
    return "\n\n".join(_one_line(part) for part in text.split("\n\n"))
