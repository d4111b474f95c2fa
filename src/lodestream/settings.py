"""Every setting: its environment name, default, unit and meaning.

Settings are read once, by the command line, and handed down as plain values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "LODESTREAM_"
METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where the server processes of one `lodestream serve` share their metrics; set by it alone."""


def _setting(default: Any, meaning: str, unit: str = "", *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"meaning": meaning, "unit": unit})


@dataclass(frozen=True)
class Settings:
    """The settings of a server, a worker or a command. Each is `LODESTREAM_` and its name."""

    host: str = _setting("127.0.0.1", "Address that the server listens on.")
    port: int = _setting(8000, "Port that the server listens on.")
    data: Path = _setting(
        Path("lodestream-data"), "Folder that holds the embedded database and uploaded files."
    )
    database_url: str = _setting(
        "",
        "Database to use instead of the embedded one: `postgresql://user:password@host/name`.",
    )
    workers: int = _setting(1, "Server processes.", "processes")
    threads: int = _setting(8, "Threads of each server process that read.", "threads")
    learning: bool = _setting(
        True, "Whether `serve` trains models and predicts, in a process of its own beside the API."
    )
    learn_threads: int = _setting(
        1,
        "Threads of one computation when training and predicting. More than there are idle cores "
        "make it many times slower.",
        "threads",
    )
    mailboxes: bool = _setting(True, "Whether `serve` reads the mailboxes of integrations.")
    mailbox_interval: float = _setting(
        60.0, "How long after a mailbox was read to its end it is read again.", "s"
    )
    mailbox_threads: int = _setting(
        4, "Mailboxes that one `serve` or `worker` reads at once.", "mailboxes"
    )
    encoders: str = _setting(
        "", "Folder of the installed encoders; `encoders` in the data folder if empty."
    )
    admin_token: str = _setting(
        "",
        "Token of the first administrator, for unattended starts; made up if empty.",
        secret=True,
    )
    secret_key: str = _setting(
        "",
        "Key that secrets of integrations and sinks are encrypted with, from `lodestream secret "
        "new-key`. Several, separated by commas: the first encrypts, each decrypts.",
        secret=True,
    )
    trusted_proxies: str = _setting(
        "",
        "Addresses of reverse proxies, separated by commas, whose X-Forwarded-For is believed.",
    )
    path_prefix: str = _setting("", "Path under which the server is reached, besides the root.")
    any_transform_tag: bool = _setting(
        False, "Whether e-mail transform tags that are not known here are read as the default one."
    )
    max_body_mib: int = _setting(64, "Largest JSON body, also after decompression.", "MiB")
    max_upload_mib: int = _setting(128, "Largest uploaded file.", "MiB")
    max_file_mib: int = _setting(
        4096,
        "Largest file of rows (CSV), also after decompression. It waits on disk, in the data "
        "folder; up to four of them at once.",
        "MiB",
    )
    max_held_mib: int = _setting(
        512,
        "Memory for the bodies, those over 1 MiB, of all requests that one server process handles "
        "at once; more get 429.",
        "MiB",
    )
    max_concurrent: int = _setting(
        256, "Requests that one server process handles at once; more get 429.", "requests"
    )
    max_exports: int = _setting(
        8,
        "Files (exports and tables) that one server process makes and sends at once; more get 429.",
        "files",
    )
    max_rate: float = _setting(
        0.0, "Requests a second from one token to one process; 0 means no bound.", "requests/s"
    )
    durable_advance: bool = _setting(
        False,
        "Whether an advance waits for the disk. Without, a power cut or a crash of PostgreSQL (not "
        "of the server) may undo the last advances, so comments come again; none is lost.",
    )
    access_log: bool = _setting(False, "Whether every request is logged, not only failures.")
    log_level: str = _setting("info", "Least level that is logged: debug, info, warning, error.")
    outbound_hosts: str = _setting(
        "",
        "Hosts that the server may connect to for its users, as mail servers and sinks, separated "
        "by commas: names, `*.` and a domain, addresses, networks. Empty: any host.",
    )
    sinks: bool = _setting(
        True, "Whether `serve`, and `worker` without `--only`, deliver to the sinks of streams."
    )
    sink_threads: int = _setting(
        8, "Sinks that one `serve` or `worker` delivers to at once.", "sinks"
    )
    sink_folder: str = _setting(
        "",
        "Folder below which sinks may write files. Empty: sinks of kind `file`, and of kind `sql` "
        "with SQLite, are refused.",
    )
    poison_fetches: int = _setting(
        5,
        "Fetches in a row that begin with the same comment before it is reported as poison.",
        "fetches",
    )


def encoders_folder(settings: Settings) -> Path:
    """Return the folder that holds the installed encoders."""
    return Path(settings.encoders) if settings.encoders else settings.data / "encoders"


def read_settings(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read settings from the environment; overrides that are not None win.

    Raises ValueError naming the variable whose value cannot be read.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for one in fields(Settings):
        text = environment.get(PREFIX + one.name.upper())
        if text is not None:
            values[one.name] = _parse(one.name, text, type(one.default))
    values.update({name: value for name, value in overrides.items() if value is not None})
    return Settings(**values)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment from which `read_settings` reads these settings."""
    return {PREFIX + one.name.upper(): str(getattr(settings, one.name)) for one in fields(Settings)}


def _parse(name: str, text: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return Path(text) if issubclass(kind, Path) else kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"{PREFIX}{name.upper()}: {text!r} is not a {kind.__name__}") from None
