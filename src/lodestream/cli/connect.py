"""`lodestream connect`: a connector that runs where the mailboxes are."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click
from prometheus_client import start_http_server

from lodestream.cli.connect_loop import Loop, Metrics, Seat
from lodestream.cli.connect_target import ApiBucket, DryBucket, stored_configuration
from lodestream.cli.logs import configure
from lodestream.cli.options import Failed, Unreachable, stopped_by_signals
from lodestream.cli.output import show_rows
from lodestream.client import Client, ClientError, NotFound
from lodestream.client import Unreachable as NoAnswer
from lodestream.connectors.open import open_mailbox
from lodestream.connectors.selfhosted import Connector, Secrets, read_configuration, shard_of

UPLOAD_TIMEOUT_S: Final = 240.0
_COLUMNS: Final = ("mailbox", "read", "stored", "skipped", "state")


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="CM_CONFIG_FILE",
    help="File with the configuration.  [CM_CONFIG_FILE]",
)
@click.option(
    "--config-owner",
    envvar="CM_CONFIG_OWNER",
    help="Project of a configuration that is kept on the server.  [CM_CONFIG_OWNER]",
)
@click.option("--config-key", envvar="CM_CONFIG_KEY", help="Its key.  [CM_CONFIG_KEY]")
@click.option(
    "--url",
    envvar=["CM_ENDPOINT", "LODESTREAM_URL"],
    required=True,
    help="Where the server is.  [CM_ENDPOINT, LODESTREAM_URL]",
)
@click.option(
    "--token",
    envvar=["CM_API_TOKEN", "LODESTREAM_TOKEN"],
    required=True,
    help="Token to call with; better in the environment.  [CM_API_TOKEN, LODESTREAM_TOKEN]",
)
@click.option(
    "--poll-interval",
    type=click.FloatRange(min=1),
    envvar="POLL_INTERVAL_SECONDS",
    default=60.0,
    show_default=True,
    help="Seconds between two looks into a mailbox.  [POLL_INTERVAL_SECONDS]",
)
@click.option(
    "--exchange-password",
    envvar=["EXCHANGE_PASSWORD", "IMAP_PASSWORD"],
    hidden=True,
)
@click.option(
    "--exchange-client-secret",
    envvar=["EXCHANGE_CLIENT_SECRET", "IMAP_CLIENT_SECRET"],
    hidden=True,
)
@click.option("--imap-refresh-token", envvar="IMAP_REFRESH_TOKEN", hidden=True)
@click.option("--shard-index", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--num-shards",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many connectors share the mailboxes; this one has number --shard-index, from 0.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics there.")
@click.option("--once", is_flag=True, help="Read what is new in every mailbox once, and end.")
@click.option("--dry-run", is_flag=True, help="Tell what --once would do, and store nothing.")
def connect(
    config: Path | None,
    config_owner: str | None,
    config_key: str | None,
    url: str,
    token: str,
    poll_interval: float,
    exchange_password: str | None,
    exchange_client_secret: str | None,
    imap_refresh_token: str | None,
    shard_index: int,
    num_shards: int,
    metrics_port: int | None,
    once: bool,
    dry_run: bool,
) -> None:
    """Read mailboxes from here, and send what is new to buckets of a server elsewhere.

    For networks that let nobody in: only this command connects, to the mailboxes and to the server.
    It keeps nothing on disk; where it is stands on the server. Secrets may be in the environment
    instead of the configuration: IMAP_PASSWORD, IMAP_CLIENT_SECRET, IMAP_REFRESH_TOKEN,
    EXCHANGE_PASSWORD, EXCHANGE_CLIENT_SECRET. Ends cleanly on SIGTERM and SIGINT.
    """
    if shard_index >= num_shards:
        raise click.UsageError("--shard-index must be less than --num-shards")
    configure("info")
    secrets = Secrets(exchange_password, exchange_client_secret, imap_refresh_token)
    with _told(), Client(url, token, timeout_s=UPLOAD_TIMEOUT_S) as client:
        content = _content(client, config, config_owner, config_key)
        connector = read_configuration(content, secrets)
        seats = _seats(client, connector, shard_index, num_shards, dry_run=dry_run)
        with stopped_by_signals() as stop, _metrics(metrics_port) as metrics:
            opening = partial(open_mailbox, connector.configuration)
            loop = Loop(seats, opening, stop, poll_s=poll_interval, metrics=metrics)
            if once or dry_run:
                level = loop.run_once()
                show_rows([_row(seat) for seat in seats], _COLUMNS, as_json=False)
                if not level and not stop.is_set():
                    raise Failed("not every mailbox could be read; the log tells why")
                return
            loop.run()
            if not stop.is_set():
                raise Failed("no mailbox can be read any more; the log tells why")


def _content(client: Client, config: Path | None, owner: str | None, key: str | None) -> bytes:
    if config is not None:
        if config.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            text = f"{config} can be read by others; secrets are better in the environment"
            click.echo(text, err=True)
        return config.read_bytes()
    if owner is None or key is None:
        raise click.UsageError("give --config, or --config-owner and --config-key")
    return stored_configuration(client, owner, key)


def _seats(
    client: Client, connector: Connector, index: int, shards: int, *, dry_run: bool
) -> list[Seat]:
    buckets: dict[str, ApiBucket] = {}
    seats = []
    for mailbox in connector.mailboxes:
        if shard_of(mailbox.email, shards) != index:
            continue
        specification = mailbox.bucket_specification
        name = f"{specification.project_name}/{specification.name}"
        try:
            bucket = buckets.get(name) or ApiBucket(client, name)
        except NotFound as error:
            raise Failed(f"there is no bucket {name}, or the token may not see it") from error
        buckets[name] = bucket
        seats.append(Seat(mailbox, DryBucket(bucket) if dry_run else bucket))
    return seats


def _row(seat: Seat) -> dict[str, object]:
    done = seat.done
    state = seat.refused or ("level" if done.finished else "not level")
    counts = {"read": done.read, "stored": done.stored, "skipped": done.skipped}
    return {"mailbox": seat.mailbox.email, **counts, "state": state}


@contextlib.contextmanager
def _metrics(port: int | None) -> Iterator[Metrics]:
    metrics = Metrics()
    if port is None:
        yield metrics
        return
    server, thread = start_http_server(port, registry=metrics.registry)
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except NoAnswer as error:
        raise Unreachable(str(error)) from error
    except (ClientError, ValueError) as error:
        raise Failed(str(error)) from error
