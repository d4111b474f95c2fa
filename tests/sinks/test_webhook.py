"""Sinks of kind webhook."""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from email.utils import formatdate
from hashlib import sha256

import pytest

from lodestream.domain.deliveries import Done, Failed, Gone, Later, Outcome, Refused
from lodestream.domain.sinks import Webhook
from lodestream.sinks.webhook import WebhookSink, new_secret, signature
from tests.sinks.items import item
from tests.sinks.targets import Reply, Request, Target, serving

SECRET = new_secret()


def sink_of(target: Target, **settings: object) -> WebhookSink:
    configured = Webhook(target.url + "/hook", secret=SECRET, **settings)  # type: ignore[arg-type]
    return WebhookSink(configured, name="out", stream="acme/support/all")


def test_the_signature_is_that_of_the_published_example() -> None:
    # From the Standard Webhooks specification and its reference libraries.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = signature(
        secret,
        call_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_call_is_signed_over_id_time_and_body_and_keeps_its_id() -> None:
    with serving() as target:
        sink = sink_of(target, authorization="Bearer x")
        assert sink.deliver([item("a"), item("b", pos=(1 << 61) + 1)]) == [Done(), Done()]
        sink.deliver([item("a"), item("b", pos=(1 << 61) + 1)])
        sink.deliver([item("a")])
        sink.close()
    first, again, other = target.requests
    headers = first.headers
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + first.body
    key = b64decode(SECRET.removeprefix("whsec_"))
    expected = "v1," + b64encode(hmac.new(key, signed, sha256).digest()).decode()
    assert headers["webhook-signature"] == expected
    assert headers["authorization"] == "Bearer x"
    assert again.headers["webhook-id"] == headers["webhook-id"] != other.headers["webhook-id"]
    assert (first.path, first.ids) == ("/hook", ["a", "b"])
    assert {k: first.json[k] for k in ("type", "sink", "stream")} == {
        "type": "comments",
        "sink": "out",
        "stream": "acme/support/all",
    }


MEANINGS = {
    Done: (200, 204),
    Later: (302, 401, 404, 429, 503),
    Refused: (400, 413, 422),
    Failed: (500, 501),
}


@pytest.mark.parametrize(
    ("status", "kind"), [(status, kind) for kind, found in MEANINGS.items() for status in found]
)
def test_what_a_status_means(status: int, kind: type[Outcome]) -> None:
    with serving(lambda _request: (status, {"location": "/elsewhere"}, b"why")) as target:
        [said] = sink_of(target).deliver([item()])
        assert isinstance(said, kind)
        assert len(target.requests) == 1, "a redirect is not followed"


def test_410_is_the_end() -> None:
    with serving(lambda _request: (410, {}, b"")) as target, pytest.raises(Gone):
        sink_of(target).deliver([item()])


@pytest.mark.parametrize(("header", "low", "high"), [("120", 120, 120), ("in_600", 550, 600)])
def test_retry_after_is_read(header: str, low: float, high: float) -> None:
    value = formatdate(time.time() + 600, usegmt=True) if header == "in_600" else header
    with serving(lambda _request: (503, {"retry-after": value}, b"")) as target:
        [said] = sink_of(target).deliver([item()])
    assert isinstance(said, Later)
    assert said.after_s is not None
    assert low <= said.after_s <= high


def test_a_retry_after_that_says_nothing_is_passed_over() -> None:
    with serving(lambda _request: (503, {"retry-after": "soon"}, b"")) as target:
        assert sink_of(target).deliver([item()]) == [Later("HTTP 503")]


def test_silence_may_be_the_comments_fault_and_absence_is_not() -> None:
    def silent(_request: Request) -> Reply:
        time.sleep(1.5)
        return 200, {}, b""

    with serving(silent) as target:
        assert isinstance(sink_of(target, timeout_s=1).deliver([item()])[0], Failed)
    nobody = sink_of(Target(url="http://127.0.0.1:1"))
    assert isinstance(nobody.deliver([item()])[0], Later)


def test_the_sample_says_that_it_is_one() -> None:
    with serving() as target:
        assert sink_of(target).check() == Done()
    assert target.requests[0].json["type"] == "test"
    assert target.requests[0].json["results"] == []
