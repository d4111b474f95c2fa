"""Sinks: places outside to which the comments of a stream are sent, each with its own cursor.

The structs of the kinds are those of the wire and of the store; only the secrets are kept apart
when a sink is stored.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.errors import Unprocessable

Short = Annotated[str, Meta(min_length=1, max_length=1024)]
Secret = Annotated[str, Meta(min_length=1, max_length=65536)]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+[^\s#]*\Z", max_length=2048)]
CallSize = Annotated[int, Meta(ge=1, le=1024)]
Seconds = Annotated[int, Meta(ge=1, le=120)]
Probability = Annotated[float, Meta(ge=0, le=1)]
LabelValues = Literal["probability", "binary"]
SigningSecret = Annotated[str, Meta(pattern=r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}\Z")]

MAX_FAILURES: Final = 5
"""How often a comment may fail alone before it is given up, unless a sink says otherwise."""
MOST_SINKS: Final = 32
"""Most sinks of one stream."""


class Webhook(
    Struct, tag="webhook", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """Comments go to a URL by POST, signed as Standard Webhooks has it."""

    url: Url
    secret: SigningSecret | UnsetType = UNSET
    """Absent when a sink is made: the server makes one up and shows it once."""
    authorization: Secret | UnsetType = UNSET
    """Value of the header of this name."""
    comments_per_call: CallSize = 64
    timeout_s: Seconds = 30


class Elasticsearch(
    Struct, tag="elasticsearch", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """Comments become documents of an index of Elasticsearch or OpenSearch."""

    url: Url
    index: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,199}\Z")]
    username: Short | UnsetType = UNSET
    password: Secret | UnsetType = UNSET
    api_key: Secret | UnsetType = UNSET
    make_template: bool = True
    """Whether an index template is stored, if there is none of its name."""
    comments_per_call: CallSize = 512
    timeout_s: Seconds = 60


class Kafka(Struct, tag="kafka", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """Comments become messages of a topic, with the uid as their key."""

    brokers: Annotated[str, Meta(pattern=r"^[^\s,]+:[0-9]+(,[^\s,]+:[0-9]+)*\Z", max_length=2048)]
    topic: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}\Z")]
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: Short | UnsetType = UNSET
    password: Secret | UnsetType = UNSET
    comments_per_call: CallSize = 512
    timeout_s: Seconds = 60


class Sql(Struct, tag="sql", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """Comments become rows of a table, which is made and extended as needed."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    """`postgresql://user@host:port/database` or `sqlite:file-below-the-sink-folder`."""
    table: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}\Z")] = "comments"
    password: Secret | UnsetType = UNSET
    label_values: LabelValues = "probability"
    least_probability: Probability = 0.5
    """With `binary`: the probability from which on a label counts as given."""
    comments_per_call: CallSize = 512
    timeout_s: Seconds = 60


class File(Struct, tag="file", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """Comments are written to files, one after the other, in a folder below the sink folder."""

    folder: Short
    format: Literal["jsonl", "csv", "parquet"] = "jsonl"
    comments_per_file: Annotated[int, Meta(ge=1, le=20_000)] = 5000
    seconds_per_file: Annotated[int, Meta(ge=0, le=86_400)] = 300
    """How long comments are gathered before a file with fewer of them is written."""
    label_values: LabelValues = "probability"
    least_probability: Probability = 0.5


Configuration = Webhook | Elasticsearch | Kafka | Sql | File

_SECRETS: Final = ("secret", "authorization", "password", "api_key")


def kind_of(configuration: Configuration) -> str:
    """Return the word of a kind."""
    return str(type(configuration).__struct_config__.tag)


def without_secrets(configuration: Configuration) -> tuple[Configuration, dict[str, str]]:
    """Return a configuration as it may be shown, and its secrets by name."""
    secrets = {
        name: value
        for name in _SECRETS
        if (value := getattr(configuration, name, UNSET)) is not UNSET
    }
    return with_secrets(configuration, dict.fromkeys(secrets, UNSET)), secrets


def with_secrets(
    configuration: Configuration, secrets: dict[str, str] | dict[str, UnsetType]
) -> Configuration:
    """Return a configuration together with its secrets."""
    return msgspec.structs.replace(configuration, **secrets)


def target_of(configuration: Configuration) -> tuple[str, ...]:
    """Return what names the target. Secrets that were given for one are never sent to another."""
    match configuration:
        case Webhook(url=url) | Elasticsearch(url=url):
            parts = urlsplit(url)
            return kind_of(configuration), parts.scheme, parts.netloc
        case Kafka(brokers=brokers, security=security):
            return "kafka", brokers, security
        case Sql(url=url):
            return "sql", url
        case File():
            return ("file",)


def hosts_of(configuration: Configuration) -> list[str]:
    """Return the hosts that a sink connects to. Raises Unprocessable for an unusable URL."""
    match configuration:
        case Webhook(url=url) | Elasticsearch(url=url):
            return [_host(url)]
        case Kafka(brokers=brokers):
            return [one.rpartition(":")[0] for one in brokers.split(",")]
        case Sql(url=url):
            found = sql_target(url)
            return [] if isinstance(found, SqliteTarget) else [found.host]
        case File():
            return []


def check(configuration: Configuration) -> None:
    """Check what a schema cannot state. Raises Unprocessable."""
    hosts_of(configuration)
    match configuration:
        case File(folder=folder):
            check_path(folder)
        case Sql(url=url, password=password):
            if isinstance(sql_target(url), SqliteTarget) and password is not UNSET:
                raise Unprocessable("password: a SQLite file has none")
        case Elasticsearch(username=username, password=password, api_key=key):
            if key is not UNSET and (username is not UNSET or password is not UNSET):
                raise Unprocessable("api_key: give either this, or username and password")
        case Kafka(security=security, username=username):
            if security.startswith("sasl") != (username is not UNSET):
                raise Unprocessable("username: goes together with a security that begins with sasl")
        case _:
            pass


def most_at_once(configuration: Configuration) -> int:
    """Return how many comments are delivered together at most."""
    if isinstance(configuration, File):
        return configuration.comments_per_file
    return configuration.comments_per_call


def linger_s(configuration: Configuration) -> int:
    """Return how old the oldest comment has to be before less than the most is delivered."""
    return configuration.seconds_per_file if isinstance(configuration, File) else 0


class PostgresTarget(Struct, frozen=True):
    """A PostgreSQL database, without its password."""

    host: str
    port: int
    database: str
    username: str
    sslmode: str | None


class SqliteTarget(Struct, frozen=True):
    """A SQLite file below the sink folder."""

    path: str


_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def sql_target(url: str) -> PostgresTarget | SqliteTarget:
    """Read the URL of a SQL sink. Raises Unprocessable."""
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:")
        check_path(path)
        return SqliteTarget(path)
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise Unprocessable("url: not a URL") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    sslmode = options.pop("sslmode", None)
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres") or not (parts.hostname and parts.username):
        raise Unprocessable("url: `postgresql://user@host:port/database` or `sqlite:file` expected")
    if parts.password is not None:
        raise Unprocessable("url: give the password as `password`, where it is kept encrypted")
    if not database or "/" in database or options or parts.fragment:
        raise Unprocessable("url: one database name expected, and no option but `sslmode`")
    if sslmode is not None and sslmode not in _SSL_MODES:
        raise Unprocessable(f"url: sslmode is one of {', '.join(_SSL_MODES)}")
    return PostgresTarget(parts.hostname, port, database, unquote(parts.username), sslmode)


def check_path(text: str) -> None:
    """Check that a path is relative and stays below its folder. Raises Unprocessable."""
    path = PurePosixPath(text)
    parts = text.split("/")
    plain = all(part not in ("", ".", "..") and not part.startswith(".") for part in parts)
    if path.is_absolute() or not plain or any(ord(char) < 32 or char in '\\:"' for char in text):
        raise Unprocessable(
            f"{text[:200]!r}: a path below the sink folder expected, of plain names separated by /"
        )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Unprocessable("url: not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise Unprocessable("url: give user and password in their own fields, not in the URL")
    if not parts.hostname:
        raise Unprocessable("url: it names no host")
    return parts.hostname


class Sink(Struct, frozen=True):
    """A sink as it is stored: what it is, and how far it came.

    `configuration` has no secrets; `sealed` holds them (`domain.secrets`). `position` is the last
    place that the target acknowledged. `head` is the place of the comment that failed last, and
    `failures` how often in a row; `waits` counts the attempts in a row that did not get on.
    `size` is how many comments are tried together at present.
    """

    id: str
    stream_id: str
    name: str
    configuration: Configuration
    sealed: str | None
    enabled: bool
    disabled_reason: str | None
    max_failures: int
    include_sensitive: bool
    created_us: int
    updated_us: int
    position: int
    size: int
    due_us: int
    head: int | None = None
    failures: int = 0
    waits: int = 0
    attempts: int = 0
    delivered: int = 0
    failed: int = 0
    dead_letters: int = 0
    succeeded_us: int | None = None
    failed_us: int | None = None
    error: str | None = None


class Attempt(Struct, frozen=True):
    """One delivery that was tried: how many comments it had, and what became of them.

    `uid` is that of the comment at which it stopped or that was given up.
    """

    number: int
    at_us: int
    took_ms: int
    comments: int
    delivered: int
    result: Literal["delivered", "waiting", "split", "dead_letter", "disabled"]
    reason: str | None
    detail: str | None
    uid: str | None


def state_word(sink: Sink, *, unread: int) -> str:
    """Say in one word how a sink does: disabled, failing, idle or delivering."""
    if not sink.enabled:
        return "disabled"
    if sink.waits or sink.failures:
        return "failing"
    return "delivering" if unread else "idle"
