"""From a configuration to an open sink."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from lodestream.domain.sinks import Configuration, Elasticsearch, File, Kafka, Sql, Webhook
from lodestream.sinks.elasticsearch import ElasticsearchSink
from lodestream.sinks.file import FileSink
from lodestream.sinks.kafka import KafkaSink
from lodestream.sinks.results import Columns, OpenSink
from lodestream.sinks.sql import SqlSink
from lodestream.sinks.webhook import WebhookSink


class Place(Struct, frozen=True):
    """Whose sink it is. `labels` are those of the stream's model, `stream` its full name."""

    sink_id: str
    name: str
    stream: str
    labels: tuple[str, ...]


def open_sink(settings: Configuration, place: Place, *, root: Path | None) -> OpenSink:
    """Return a sink that delivers; `root` is the folder for files, None: no files may be written.

    Nothing is connected yet. Raises Unprocessable if a folder or a library is missing.
    """
    match settings:
        case Webhook():
            return WebhookSink(settings, name=place.name, stream=place.stream)
        case Elasticsearch():
            return ElasticsearchSink(settings)
        case Kafka():
            return KafkaSink(settings)
        case Sql():
            return SqlSink(settings, columns=_columns(settings, place), root=root)
        case File():
            columns = _columns(settings, place)
            return FileSink(settings, sink_id=place.sink_id, columns=columns, root=root)


def _columns(settings: Sql | File, place: Place) -> Columns:
    binary = settings.label_values == "binary"
    return Columns(place.labels, binary, settings.least_probability)
