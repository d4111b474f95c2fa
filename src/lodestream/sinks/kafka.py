"""Sinks of kind `kafka`: messages of a topic, with the uid as key."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET

from lodestream.domain.deliveries import Done, Later, Outcome, Rejected
from lodestream.domain.errors import Unprocessable
from lodestream.domain.sinks import Kafka
from lodestream.sinks.results import Item

MOST_MESSAGE_BYTES: Final = 64 << 20
CHECK_TIMEOUT_S: Final = 10.0

log = logging.getLogger("lodestream.sinks")


def producer_settings(settings: Kafka) -> dict[str, Any]:
    """Return what librdkafka is told: every replica confirms, and nothing is doubled or swapped."""
    made: dict[str, Any] = {
        "bootstrap.servers": settings.brokers,
        "client.id": "lodestream",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "compression.type": "lz4",
        # The broker decides what is too large; here nothing is.
        "message.max.bytes": MOST_MESSAGE_BYTES,
        "delivery.timeout.ms": settings.timeout_s * 1000,
        "security.protocol": settings.security.upper(),
    }
    if settings.username is not UNSET:
        made["sasl.mechanism"] = settings.mechanism
        made["sasl.username"] = settings.username
        made["sasl.password"] = "" if settings.password is UNSET else settings.password
    return made


class KafkaSink:
    """Produces comments to a topic; each is done when every replica in sync has it."""

    def __init__(self, settings: Kafka, *, more: Mapping[str, Any] | None = None) -> None:
        """`more` are further settings of librdkafka. Raises Unprocessable without the library."""
        try:
            # The library is an extra: it is needed where there are such sinks, and nowhere else.
            import confluent_kafka
        except ImportError:
            raise Unprocessable(
                "sinks of kind kafka need the extra of this name: pip install 'lodestream[kafka]'"
            ) from None
        self._kafka = confluent_kafka
        self._settings = settings
        self._config = {**producer_settings(settings), **(more or {}), "logger": log}
        self._producer: Any = None

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Produce comments and wait until each is confirmed or given up."""
        producer = self._open()
        outcomes: list[Outcome] = [Later("not confirmed in time")] * len(items)
        for index, item in enumerate(items):

            def report(error: Any, _message: Any, index: int = index) -> None:
                outcomes[index] = Done() if error is None else self._problem(error)

            try:
                self._produce(producer, item, report)
            except (BufferError, self._kafka.KafkaException) as error:
                outcomes[index] = self._problem(_error_of(error))
        # Each message is reported at the latest when its own time is up.
        left = producer.flush(self._settings.timeout_s + 5)
        if left or any(isinstance(one, Later) for one in outcomes):
            self._drop()
        return list(outcomes)

    def check(self) -> Outcome:
        """Ask the brokers for the topic."""
        try:
            found = self._open().list_topics(self._settings.topic, timeout=CHECK_TIMEOUT_S)
        except self._kafka.KafkaException as error:
            return self._problem(_error_of(error))
        problem = found.topics[self._settings.topic].error
        return Done() if problem is None else self._problem(problem)

    def close(self) -> None:
        """Forget what was not confirmed, and close the connections."""
        self._drop()

    def _open(self) -> Any:
        if self._producer is None:
            self._producer = self._kafka.Producer(self._config)
        return self._producer

    def _produce(self, producer: Any, item: Item, report: Any) -> None:
        message = {
            "topic": self._settings.topic,
            "key": item.uid.encode(),
            "value": item.json,
            "headers": [
                ("content-type", b"application/json"),
                ("sequence-id", item.sequence_id.encode()),
            ],
            "on_delivery": report,
        }
        try:
            producer.produce(**message)
        except BufferError:
            producer.flush(self._settings.timeout_s)  # the queue in memory is full
            producer.produce(**message)
        producer.poll(0)

    def _problem(self, error: Any) -> Outcome:
        code = error.code() if hasattr(error, "code") else None
        name = error.name() if hasattr(error, "name") else str(error)
        known = self._kafka.KafkaError
        if code in (known.MSG_SIZE_TOO_LARGE, known.INVALID_RECORD):
            return Rejected(name, str(error))
        return Later(name, str(error))

    def _drop(self) -> None:
        # A producer that could not deliver may be broken for good, and would send what it still
        # holds later, out of turn.
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0)
            self._producer = None


def _error_of(error: Exception) -> Any:
    return error.args[0] if error.args and hasattr(error.args[0], "code") else error
