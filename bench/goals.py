"""What is demanded and what is hoped for, figure by figure, in the order of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """`floor` is demanded, `aim` hoped for; `lower` tells that less is better."""

    figure: str
    floor: float
    aim: float
    lower: bool = False
    unit: str = ""

    def verdict(self, value: float) -> str:
        """Tell in a word how a value stands to the goal."""
        sign = -1 if self.lower else 1
        if value * sign >= self.aim * sign:
            return "aim"
        return "floor" if value * sign >= self.floor * sign else "MISSED"


GOALS = {
    "fetch/redis/1024": Goal(
        "fetch + advance at 1024 / Redis XREADGROUP + XACK, AOF everysec", 0.5, 1.0
    ),
    "fetch/redis/16": Goal("fetch + advance at 16 / the same", 0.25, 0.5),
    "fetch/pgmq/1024": Goal("fetch + advance at 1024 / PGMQ-style table", 2, 4),
    "fetch/nats/1024": Goal("fetch + advance at 1024 / NATS JetStream, explicit ack", 4, 8),
    "fetch/rabbitmq/1024": Goal("fetch + advance at 1024 / RabbitMQ quorum queue", 6, 12),
    "fetch/nginx/1024": Goal(
        "fetch + advance at 1024 / nginx static file, http.client, JSON parsed", 0.33, 0.7
    ),
    "ingest/redis": Goal(
        "ingest of new comments, fsync at each commit / Redis XADD pipelined, everysec", 0.4, 0.8
    ),
    "ingest/unchanged": Goal("ingest unchanged / new", 1.8, 2.5),
    "ingest/updated": Goal("ingest updated / new", 0.55, 0.8),
    "postgresql/1024": Goal("PostgreSQL / SQLite, fetch + advance at 1024", 0.75, 1.0),
    "postgresql/16": Goal("PostgreSQL / SQLite, fetch + advance at 16", 0.35, 0.6),
    "million/ingest": Goal("a million rows / ten thousand: ingest of new comments", 0.65, 0.9),
    "million/head": Goal("a million rows / ten thousand: fetch at the head", 0.85, 0.97),
    "million/middle": Goal("a million rows / ten thousand: fetch in the middle", 0.85, 0.97),
    "million/tail": Goal("a million rows / ten thousand: fetch at the tail", 0.85, 0.97),
    "predictions/1024": Goal("fetch with predictions / without, at 1024", 0.8, 0.9),
    "client/1024": Goal(
        "processor time of lodestream.client / of http.client and orjson, at 1024",
        1.15,
        1.0,
        lower=True,
    ),
    "client/16": Goal("the same, at 16", 1.4, 1.0, lower=True),
    "gzip": Goal("gzip cycle / identity cycle at 1024", 0.6, 0.85),
    "filter/property": Goal(
        "time of a comment examined by a filter that passes 1 % / of one fetched without",
        0.25,
        0.05,
        lower=True,
    ),
    "filter/domain": Goal("the same, filter on the sender's domain", 0.25, 0.05, lower=True),
    "sources": Goal("dataset of 100 sources out of 1000 / of 1 source, at 1024", 0.5, 0.9),
    **{
        f"export/{file}": Goal(
            f"processor time of the server to export a million comments as {name}",
            120,
            aim,
            lower=True,
            unit="s",
        )
        for file, name, aim in (
            ("csv", "CSV", 70),
            ("jsonl", "JSON Lines", 50),
            ("parquet", "Parquet", 50),
            ("xlsx", "Excel", 90),
        )
    },
    "memory": Goal(
        "resident memory of the server after a million comments in and out",
        300,
        150,
        lower=True,
        unit="MB",
    ),
}
