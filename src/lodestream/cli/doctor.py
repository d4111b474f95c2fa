"""`lodestream doctor`: what could keep a server from starting or working well, and what to do."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from lodestream.cli.database import database_options, settings_from
from lodestream.cli.options import Failed, json_option
from lodestream.cli.output import print_json
from lodestream.cli.serve import listen
from lodestream.domain.errors import LodestreamError, Unavailable
from lodestream.domain.places import created_us
from lodestream.domain.secrets import Keyring
from lodestream.domain.times import format_us, now_us
from lodestream.server import open_database
from lodestream.settings import Settings
from lodestream.store import accounts, jobs, order, sealed
from lodestream.store.db import Database
from lodestream.store.migrate import schema_version

OK: Final = "ok"
NOTE: Final = "note"
PROBLEM: Final = "problem"

LEAST_FREE_BYTES: Final = 1 << 30
MOST_SKEW_US: Final = 2_000_000
MOST_OVERDUE_US: Final = 600 * 1_000_000
_OPTIONAL: Final = {"uvloop": "a faster event loop", "httptools": "a faster HTTP parser"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `advice` says what to do."""

    name: str
    state: str
    what: str
    advice: str = ""


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to check.  [LODESTREAM_HOST]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to check.  [LODESTREAM_PORT]")
@json_option
@database_options
@click.pass_context
def doctor(
    ctx: click.Context,
    host: str | None,
    port: int | None,
    as_json: bool,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Check what a server needs, and explain what is wrong.

    Changes nothing. Exit code 1 if there is a problem.
    """
    settings = settings_from(host=host, port=port, data=data, database_url=database_url)
    checks = list(examine(settings))
    if as_json:
        print_json([asdict(one) for one in checks])
    else:
        for one in checks:
            click.echo(f"{one.state:8} {one.name}: {one.what}")
            if one.advice:
                click.echo(f"{'':8} → {one.advice}")
    if any(one.state == PROBLEM for one in checks):
        ctx.exit(1)


def examine(settings: Settings) -> Iterator[Check]:
    """Look at everything that a server needs."""
    yield _python()
    yield from _optional_modules()
    yield _folder(settings.data)
    yield from _space(settings.data)
    yield from _database(settings)
    yield _port(settings)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", OK, version)


def _optional_modules() -> Iterator[Check]:
    for name, purpose in _OPTIONAL.items():
        if find_spec(name) is None:
            advice = f"pip install {name}, where the platform has it"
            yield Check(name, NOTE, f"missing: {purpose}", advice)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return there


def _folder(data: Path) -> Check:
    name = "data folder"
    there = _nearest(data)
    try:
        # Whether the system lets us is only known by trying: rights, mounts and quotas all count.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        advice = "let the user who runs the server own it, or choose another with --data"
        return Check(name, PROBLEM, f"cannot write to {there}: {error.strerror}", advice)
    if there != data.absolute():
        return Check(name, OK, f"{data.absolute()} is not there yet and can be made")
    return Check(name, OK, str(data.absolute()))


def _space(data: Path) -> Iterator[Check]:
    there = _nearest(data)
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(there).free
        if free < LEAST_FREE_BYTES:
            what = f"{free >> 20} MiB are free for {data}"
            yield Check("disk", PROBLEM, what, "make room, or choose another --data")


def _database(settings: Settings) -> Iterator[Check]:
    name = "database"
    file = settings.data / "lodestream.sqlite3"
    if not settings.database_url and not file.exists():
        yield Check(name, NOTE, f"{file} is not there yet", "`lodestream serve` makes it")
        return
    try:
        db = open_database(settings)
    except ValueError as error:
        advice = "correct --database-url or LODESTREAM_DATABASE_URL"
        yield Check(name, PROBLEM, str(error), advice)
        return
    except OSError as error:
        yield Check(name, PROBLEM, f"{file}: {error.strerror}", "see `data folder`")
        return
    with contextlib.closing(db):
        yield from _open_database(db, settings)


def _open_database(db: Database, settings: Settings) -> Iterator[Check]:
    where = db.url.render_as_string(hide_password=True)
    try:
        version = schema_version(db)
    except Unavailable as error:
        advice = (
            "see whether another program holds the file, and whether the disk is full"
            if db.is_sqlite
            else "see whether the server runs, and whether host, port, user and password are right"
        )
        yield Check("database", PROBLEM, f"{where}: {error.message}", advice)
        return
    yield Check("database", OK, f"{where} can be reached")
    if version.is_newer:
        what = f"version {version.current} is newer than this program, which knows {version.needed}"
        yield Check("schema", PROBLEM, what, "upgrade Lodestream, or restore a backup")
        return
    if not version.is_current:
        what = f"version {version.current or '(none)'}, needed is {version.needed}"
        yield Check("schema", PROBLEM, what, "run `lodestream migrate`, or `lodestream serve`")
        return
    yield Check("schema", OK, f"version {version.needed}")
    keyring = Keyring(settings.secret_key)
    for look in (_clock, _users, _jobs, lambda db: _secrets(db, keyring)):
        try:
            yield look(db)
        except LodestreamError as error:
            yield Check("database", PROBLEM, error.message, "try again")


def _clock(db: Database) -> Check:
    before = now_us()
    with db.read() as tx:
        newest = created_us(order.last_position(tx))
        theirs = order.server_clock_us(tx)
    ahead_us = newest - now_us()
    if ahead_us > MOST_SKEW_US:
        what = (
            f"runs {ahead_us / 1e6:.0f} s behind the newest comment, stored at {format_us(newest)}"
        )
        advice = (
            "set the clock; nothing is lost or out of order meanwhile, but new comments get that "
            "time as their created_at, and a reset to an instant counts by it"
        )
        return Check("clock", PROBLEM, what, advice)
    if theirs is not None and not before - MOST_SKEW_US < theirs < now_us() + MOST_SKEW_US:
        what = f"differs by {abs(theirs - before) / 1e6:.0f} s from the database server's"
        return Check("clock", PROBLEM, what, "let NTP set both clocks")
    return Check("clock", OK, "does not run behind what is stored")


def _users(db: Database) -> Check:
    with db.read() as tx:
        count = accounts.count(tx)
    if not count:
        advice = "`lodestream serve` makes `admin` at its start and prints the token"
        return Check("users", NOTE, "there is none yet", advice)
    return Check("users", OK, f"{count}")


def _jobs(db: Database) -> Check:
    with db.read() as tx:
        counts = jobs.count_by_kind(tx)
    failing = {one.kind: one.failing for one in counts if one.failing}
    if failing:
        said = ", ".join(f"{count} of {kind}" for kind, count in failing.items())
        return Check("jobs", PROBLEM, f"failing: {said}", "see the log of the worker for why")
    now = now_us()
    late = [one.kind for one in counts if now - (one.oldest_due_us or now) > MOST_OVERDUE_US]
    if late:
        advice = "keep `lodestream serve` or `lodestream worker` running"
        return Check("jobs", NOTE, f"waiting for a worker: {', '.join(late)}", advice)
    return Check("jobs", OK, "none is failing")


def _secrets(db: Database, keyring: Keyring) -> Check:
    name = "secret key"
    with db.read() as tx:
        found = list(sealed.list_sealed(tx))
    shut = sum(not keyring.opens(owner, text) for _, owner, text in found)
    if shut:
        what = f"{shut} of {len(found)} stored secrets cannot be opened: mailboxes and sinks wait"
        advice = "put the key that they were encrypted with into LODESTREAM_SECRET_KEY"
        return Check(name, PROBLEM, what, advice)
    if keyring.is_empty:
        what = "there is none: integrations and sinks with passwords are refused"
        advice = "`lodestream secret new-key` makes one for LODESTREAM_SECRET_KEY"
        return Check(name, NOTE, what, advice)
    return Check(name, OK, f"opens all {len(found)} stored secrets")


def _port(settings: Settings) -> Check:
    name = f"port {settings.port}"
    try:
        listen(settings.host, settings.port).close()
    except Failed as error:
        if _answers(settings.host, settings.port):
            return Check(name, OK, f"a Lodestream server answers at {settings.host}")
        reason = error.message.removesuffix(" (try `lodestream doctor`)")
        advice = (
            f"choose another with --port; who has it tells `ss -ltnp 'sport = :{settings.port}'`"
        )
        return Check(name, PROBLEM, reason, advice)
    return Check(name, OK, f"free at {settings.host}")


def _answers(host: str, port: int) -> bool:
    """Tell whether a server of this program has the port."""
    connection = HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        reply = connection.getresponse()
        return reply.status == 200 and b'"status"' in reply.read(1000)
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
