"""Sinks of kind `webhook`: signed calls of a URL.

Each call is signed as Standard Webhooks 1.0 has it: HMAC-SHA256 over the call's id, its time and
its body, so that a receiver can tell a genuine, recent and unchanged call from any other.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from secrets import token_bytes
from time import time
from typing import Final

import msgspec
from msgspec import UNSET

from lodestream.domain.deliveries import Outcome
from lodestream.domain.sinks import Webhook
from lodestream.sinks.http import Answer, Caller, meaning
from lodestream.sinks.results import Item

_PREFIX: Final = "whsec_"


def new_secret() -> str:
    """Return a new random secret."""
    return _PREFIX + b64encode(token_bytes(32)).decode()


def signature(secret: str, *, call_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`."""
    text = secret.removeprefix(_PREFIX)
    key = b64decode(text + "=" * (-len(text) % 4))
    signed = b"%s.%d.%s" % (call_id.encode(), timestamp, body)
    return "v1," + b64encode(hmac.new(key, signed, sha256).digest()).decode()


class WebhookSink:
    """Posts comments to a URL: `{"type", "sink", "stream", "results"}`."""

    def __init__(self, settings: Webhook, *, name: str, stream: str) -> None:
        """`stream` is the full name of the stream, `name` that of the sink."""
        assert settings.secret is not UNSET
        self._settings = settings
        self._secret = settings.secret
        self._front = msgspec.json.encode({"sink": name, "stream": stream})[1:-1]
        self._caller = Caller(timeout_s=settings.timeout_s)

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Post comments in one call; what is answered holds for all of them. Raises Gone."""
        body = self._body(b"comments", b",".join(item.json for item in items))
        # The same for every repetition of the same content, so that a receiver can leave it out.
        named = "\n".join(item.sequence_id for item in items)
        call_id = "msg_" + sha256(named.encode()).hexdigest()[:32]
        return [self._post(call_id, body)] * len(items)

    def check(self) -> Outcome:
        """Post a sample, of type `test` and without comments. Raises Gone."""
        return self._post("msg_test_" + token_bytes(8).hex(), self._body(b"test", b""))

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _body(self, kind: bytes, results: bytes) -> bytes:
        return b'{"type":"%s",%s,"results":[%s]}' % (kind, self._front, results)

    def _post(self, call_id: str, body: bytes) -> Outcome:
        now = int(time())
        headers = {
            "content-type": "application/json",
            "webhook-id": call_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._secret, call_id=call_id, timestamp=now, body=body),
        }
        if self._settings.authorization is not UNSET:
            headers["authorization"] = self._settings.authorization
        answer = self._caller.call("POST", self._settings.url, body, headers)
        return meaning(answer) if isinstance(answer, Answer) else answer
