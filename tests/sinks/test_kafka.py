"""Sinks of kind kafka, against the mock cluster inside librdkafka."""

from __future__ import annotations

import json
import time

import confluent_kafka
import pytest

from lodestream.domain.deliveries import Done, Later
from lodestream.domain.sinks import Kafka
from lodestream.sinks.kafka import KafkaSink, producer_settings
from tests.sinks.items import SOURCE_ID, item


def test_messages_arrive_with_key_and_headers_in_order() -> None:
    # The cluster lives as long as this producer; others reach it like any other.
    cluster = confluent_kafka.Producer({"bootstrap.servers": "x:1", "test.mock.num.brokers": 1})
    metadata = cluster.list_topics(timeout=10)
    brokers = ",".join(f"{one.host}:{one.port}" for one in metadata.brokers.values())
    sink = KafkaSink(Kafka(brokers, "out", timeout_s=20))
    assert sink.check() == Done()
    given = [item(f"c{n}") for n in range(20)]
    assert sink.deliver(given) == [Done()] * 20
    sink.close()
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": brokers, "group.id": "g", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["out"])
    got = []
    until = time.monotonic() + 20
    while len(got) < 20 and time.monotonic() < until:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            got.append(message)
    consumer.close()
    by_partition: dict[int, list[int]] = {}
    for message in got:
        uid = message.key().decode()
        by_partition.setdefault(message.partition(), []).append(int(uid.partition(".c")[2]))
        assert json.loads(message.value())["comment"]["uid"] == uid
        assert dict(message.headers())["content-type"] == b"application/json"
    assert sorted(n for run in by_partition.values() for n in run) == list(range(20))
    assert all(run == sorted(run) for run in by_partition.values())
    assert SOURCE_ID in got[0].key().decode()


def test_brokers_that_are_not_there_are_an_outage() -> None:
    sink = KafkaSink(Kafka("127.0.0.1:1", "out", timeout_s=1))
    found = sink.deliver([item("a"), item("b")])
    assert [type(one) for one in found] == [Later, Later]
    sink.close()


def test_every_replica_confirms_and_nothing_is_doubled() -> None:
    made = producer_settings(
        Kafka("h:1", "out", security="sasl_ssl", mechanism="PLAIN", username="u", password="p")
    )
    assert (made["acks"], made["enable.idempotence"]) == ("all", True)
    assert (made["security.protocol"], made["sasl.username"]) == ("SASL_SSL", "u")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from lodestream.domain.errors import Unprocessable

    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(Unprocessable, match=r"lodestream\[kafka\]"):
        KafkaSink(Kafka("h:1", "out"))
