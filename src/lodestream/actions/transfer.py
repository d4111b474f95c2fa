"""Back up, restore and copy a whole instance: its database and its uploaded files.

A backup is a folder of the same form whatever database it was made from, so that it restores into
either:

    backup.json          what it is, with counts and the hash of the database; written last
    lodestream.sqlite3   every table, in one consistent state
    files/ab/abcdef…     uploaded files, under the SHA-256 of their content
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from lodestream import __version__
from lodestream.domain.errors import Conflict, InvalidInput
from lodestream.domain.times import format_us, now_us
from lodestream.store import migrate, transfer
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from lodestream.store.transfer import Progress

FORMAT: Final = 1
_MANIFEST: Final = "backup.json"
_DATABASE: Final = "lodestream.sqlite3"
_FILES: Final = "files"
_CHUNK_BYTES: Final = 1 << 20


class Manifest(Struct, forbid_unknown_fields=True):
    """What a backup says of itself."""

    format: int
    lodestream: str
    schema: str
    created_at: str
    made_from: str
    database_sha256: str
    rows: dict[str, int]
    files: int


def back_up(db: Database, blobs: BlobStore, folder: Path, progress: Progress) -> Manifest:
    """Write the state of a running instance into an empty or new folder.

    All that was acknowledged before the call is in it, and nothing is in it by half. Raises
    Conflict if the folder is not empty, if the schema is not current, or if a file is missing.
    """
    version = migrate.schema_version(db)
    if not version.is_current:
        raise Conflict("the database is not migrated: run `lodestream migrate` first")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty: a backup needs a folder of its own")
    files = BlobStore(folder / _FILES)
    # Files come first, because one may be deleted as soon as the state of the tables is taken, and
    # again at the end, for those that came in between.
    with transfer.snapshot(db) as tx:
        early = transfer.file_hashes(tx)
    _copy_files(blobs, files, early, progress, may_be_gone=True)
    path = folder / _DATABASE
    if db.is_sqlite:
        transfer.back_up_file(db, path, progress)
    else:
        with _opened(path) as backup:
            transfer.copy_database(db, backup, progress)
    with _opened(path) as backup, transfer.snapshot(backup) as tx:
        rows, hashes = transfer.count_rows(tx), transfer.file_hashes(tx)
    _copy_files(blobs, files, hashes, progress)
    manifest = Manifest(
        format=FORMAT,
        lodestream=__version__,
        schema=version.needed,
        created_at=format_us(now_us()),
        made_from=db.dialect_name,
        database_sha256=_sha256(path),
        rows=rows,
        files=len(hashes),
    )
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / _MANIFEST).write_bytes(text + b"\n")
    for written in (path, folder / _MANIFEST, folder):
        transfer.sync_file(written)
    return manifest


def restore(folder: Path, db: Database, blobs: BlobStore, progress: Progress) -> Manifest:
    """Bring a backup back, into an empty database and the files beside it.

    A backup of an older schema is upgraded on the way. An interrupted restore goes on when it is
    called again. Raises InvalidInput if the folder holds no whole backup, Conflict if the target is
    not empty or the backup was made by a newer version.
    """
    manifest = read_manifest(folder)
    path = folder / _DATABASE
    if _sha256(path) != manifest.database_sha256:
        raise InvalidInput(f"{path} is damaged: its content is not what was backed up")
    # On a copy, because the backup must stay as it is; on the target's own disk, to become it.
    with tempfile.TemporaryDirectory(prefix="restore-", dir=transfer.folder_of(db)) as scratch:
        copy = Path(scratch) / _DATABASE
        shutil.copyfile(path, copy)
        with _opened(copy) as source:
            if migrate.schema_version(source).is_newer:
                raise Conflict(
                    f"the backup was made by Lodestream {manifest.lodestream}, which is newer than "
                    f"this program ({__version__})"
                )
            migrate.upgrade(source)
            with transfer.snapshot(source) as tx:
                hashes = transfer.file_hashes(tx)
            _copy_files(BlobStore(folder / _FILES), blobs, hashes, progress)
            if not db.is_sqlite:
                transfer.copy_database(source, db, progress)
        if db.is_sqlite:
            transfer.adopt_file(db, copy)
    return manifest


def copy_instance(
    source: Database,
    target: Database,
    *,
    files_from: BlobStore,
    files_to: BlobStore,
    progress: Progress,
) -> dict[str, int]:
    """Copy all of an instance into another database; return each table's rows.

    Raises Conflict as `store.transfer.copy_database`, or if a file is missing.
    """
    with transfer.snapshot(source) as tx:
        hashes = transfer.file_hashes(tx)
    _copy_files(files_from, files_to, hashes, progress)
    return transfer.copy_database(source, target, progress)


def read_manifest(folder: Path) -> Manifest:
    """Read what a backup says of itself. Raises InvalidInput if there is no whole backup."""
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise InvalidInput(f"{folder} holds no finished backup: {_MANIFEST} is missing") from error
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"{folder / _MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise InvalidInput(f"{folder} has format {manifest.format}; this program knows {FORMAT}")
    return manifest


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Database]:
    db = Database(sqlite_url(path))
    try:
        yield db
    finally:
        db.close()


def _copy_files(
    source: BlobStore,
    target: BlobStore,
    hashes: Iterable[str],
    progress: Progress,
    *,
    may_be_gone: bool = False,
) -> None:
    missing = [one for one in sorted(hashes) if not target.path(one).exists()]
    for done, content_hash in enumerate(missing, 1):
        try:
            stored, _ = target.put(_chunks(source.path(content_hash)))
        except FileNotFoundError:
            if may_be_gone:
                continue
            raise Conflict(f"the uploaded file {content_hash} is missing") from None
        if stored != content_hash:
            target.delete(stored)
            raise Conflict(f"the uploaded file {content_hash} is damaged")
        progress("uploaded files", done, len(missing))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
