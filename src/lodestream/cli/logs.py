"""Structured logs: one JSON object a line, on standard error.

No token and no comment text ever gets into a log. What an unexpected exception says may quote
data (a driver repeats the values it was given), so of an exception only the class and the places
in the code are written, never its message.
"""

from __future__ import annotations

import logging
import logging.config
import traceback
from typing import Any, Final

import msgspec

from lodestream.domain.times import format_us

_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_MOST_PLACES: Final = 20


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; what was passed as `extra` becomes members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": format_us(int(record.created * 1e6)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _KNOWN})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return msgspec.json.encode(line, enc_hook=str).decode()


def describe(error: BaseException) -> list[dict[str, Any]]:
    """Return class and places of an exception and of those it was caused by, innermost last."""
    found: list[dict[str, Any]] = []
    seen: BaseException | None = error
    while seen is not None and len(found) < _MOST_PLACES:
        places = traceback.extract_tb(seen.__traceback__)[-_MOST_PLACES:]
        kind = type(seen)
        found.append(
            {
                "class": f"{kind.__module__}.{kind.__qualname__}",
                "at": [f"{place.filename}:{place.lineno} {place.name}" for place in places],
            }
        )
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return found


def log_config(level: str) -> dict[str, Any]:
    """Return the configuration of `logging` under which everything is written as JSON.

    It is plain data, so that it can be handed to server processes.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "lodestream.cli.logs.JsonFormatter"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "json",
            }
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "lodestream": {"level": level.upper()},
            # The web server's own start and stop lines repeat ours.
            "uvicorn": {"level": "WARNING"},
        },
    }


def configure(level: str) -> None:
    """Write logs as JSON from now on. Raises ValueError for an unknown level."""
    logging.config.dictConfig(log_config(level))
