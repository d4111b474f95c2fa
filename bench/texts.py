"""Comments to send: about 700 bytes of JSON each, made from their number alone."""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.client import dumps

BATCH = 1024
"""Most comments that one sync takes."""

TEAMS = 100
"""Every comment belongs to one of so many teams and senders' domains, in turn."""

_WORDS = (
    "a about account address after again agreement always amount and another answer appointment "
    "attached bank because before been booking branch broker call cancel card change charge claim "
    "closed colleague company complaint contract copy correct cover customer date delay delivery "
    "department detail difference discount document each early error every expected explain fee "
    "first follow form forward from further given good have help however insurance interest "
    "invoice is issue last late letter loss made mail many meeting missing month must name new "
    "next notice number of offer office on once open order other our paid part past payment person "
    "phone please policy possible premium price problem question quote reach reason receipt refund "
    "reminder renew reply report request resolve return same send service settle should sign since "
    "some statement status still sum system team thank that the their this today transfer under "
    "until update urgent valid wait was week were what when which with working would year your"
)
_ODD = 0xD1B54A32D192ED03


def comment_id(number: int) -> str:
    """Return an id: all are different, and they come in no order, as those of mails do."""
    return f"{number * _ODD % 2**64:016x}"


class Texts:
    """A pool of texts that comments are made of."""

    def __init__(self) -> None:
        pick, words = random.Random(20240229), _WORDS.split()
        self._bodies = [" ".join(pick.choices(words, k=72)) for _ in range(1500)]
        self._subjects = ["Re: " + " ".join(pick.choices(words, k=5)) for _ in range(333)]

    def comment(self, number: int, version: int = 0) -> dict[str, object]:
        """Return a comment as it is sent; another `version` differs in its text."""
        start = f"Version {version}. " if version else ""
        domain = f"branch{number % TEAMS}.example"
        return {
            "id": comment_id(number),
            "timestamp": f"2024-{number % 12 + 1:02}-{number % 28 + 1:02}"
            f"T{number % 24:02}:{number % 60:02}:00Z",
            "messages": [
                {
                    "from": f"sender{number % 991}@{domain}",
                    "to": ["service@bank.example"],
                    "subject": {"text": self._subjects[number % len(self._subjects)]},
                    "body": {"text": start + self._bodies[number % len(self._bodies)]},
                }
            ],
            "user_properties": {
                "string:Team": f"team {number % TEAMS}",
                "number:Score": number % 1000,
            },
        }

    def batches(
        self, first: int, count: int, *, size: int = BATCH, version: int = 0
    ) -> Iterator[bytes]:
        """Yield the bodies of the sync requests that send comments `first`, `first + 1`, …"""
        for start in range(first, first + count, size):
            numbers = range(start, min(start + size, first + count))
            yield dumps({"comments": [self.comment(number, version) for number in numbers]})


def ids(first: int, count: int) -> list[str]:
    """Return the ids of comments `first`, `first + 1`, …"""
    return [comment_id(number) for number in range(first, first + count)]
