"""The loop that syncs: order, stops, choices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.connectors.choice import Choice
from lodestream.connectors.emails import Known, email_new
from lodestream.connectors.mailboxes import Folder, Page, Skipped, Temporary
from lodestream.connectors.sync import batches, state_key, sync_mailbox
from lodestream.domain.buckets import EmailNew
from tests.connectors.targets import Memory, mailbox
from tests.dovecot import message

FOLDERS = [Folder("a", ("Inbox",)), Folder("b", ("Inbox", "Claims")), Folder("c", ("Junk",))]


def email(number: int, *, raw: bytes = b"") -> EmailNew:
    known = Known("help@example.com", ("Inbox",), 1_578_571_200_000_000 + number)
    made = email_new(raw or message(number), known, contents=False)
    assert isinstance(made, EmailNew)
    return made


class Numbers:
    """A mailbox whose folders hold e-mails by their numbers, two on a page."""

    def __init__(self, held: dict[str, list[int]]) -> None:
        self.held = held
        self.failing: set[str] = set()

    def folders(self) -> list[Folder]:
        return FOLDERS

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        if folder.id in self.failing:
            raise Temporary("not now")
        at = int(fingerprint or 0)
        numbers = self.held.get(folder.id, [])
        some = numbers[at : at + 2]
        upto = at + len(some)
        return Page([email(one) for one in some], str(upto), None, upto < len(numbers))

    def close(self) -> None: ...


class Crash(Exception):
    """The process is killed."""


class Mortal(Memory):
    """Dies at a call, before or after it did what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.late = False

    def put_emails(self, emails: object) -> None:
        self._live(lambda: Memory.put_emails(self, emails))  # type: ignore[arg-type]

    def put_state(self, key: str, state: object) -> None:
        self._live(lambda: Memory.put_state(self, key, state))  # type: ignore[arg-type]

    def _live(self, do: object) -> None:
        self.left -= 1
        if self.left == 0 and not self.late:
            raise Crash
        do()  # type: ignore[operator]
        if self.left == 0:
            raise Crash


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 50), max_size=9)),
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=6),
)
def test_killed_anywhere_nothing_is_lost(
    held: dict[str, list[int]], deaths: list[tuple[int, bool]]
) -> None:
    target = Mortal()
    source = Numbers(held)
    for target.left, target.late in deaths:
        try:
            sync_mailbox(source, mailbox(), target)
        except Crash:
            continue
    target.left = 0
    done = sync_mailbox(source, mailbox(), target)

    assert done.finished
    assert set(target.emails) == {f"<{n}@example.com>" for some in held.values() for n in some}
    assert sync_mailbox(source, mailbox(), target).read == 0


def test_e_mails_are_stored_before_the_state_that_says_so() -> None:
    target = Memory()

    sync_mailbox(Numbers({"a": [1, 2, 3]}), mailbox(), target)

    assert target.calls == ["emails", "state", "state", "state", "emails", "state"]
    state = target.states[state_key("help@example.com", "a")]
    assert (state.status, state.fingerprint) == ("UP_TO_DATE", "3")


def test_nothing_new_is_not_stored_again_and_again() -> None:
    target = Memory()
    source = Numbers({"a": [1]})
    sync_mailbox(source, mailbox(), target, clock=lambda: 0)
    target.calls.clear()

    sync_mailbox(source, mailbox(), target, clock=lambda: 1_000_000)
    assert target.calls == []
    sync_mailbox(source, mailbox(), target, clock=lambda: 600_000_000)
    assert target.calls == ["state"] * 3


def test_a_folder_that_was_renamed_is_read_anew() -> None:
    target = Memory()
    source = Numbers({"a": [1]})
    sync_mailbox(source, mailbox(), target)
    key = state_key("help@example.com", "a")
    target.states[key].folder_path = ["Old name"]

    assert sync_mailbox(source, mailbox(), target).stored == 1


def test_what_the_bucket_does_not_take_is_skipped_alone() -> None:
    target = Memory(refused=["<2@example.com>"])

    done = sync_mailbox(Numbers({"a": [1, 2, 3]}), mailbox(), target)

    assert sorted(target.emails) == ["<1@example.com>", "<3@example.com>"]
    assert done.told == [Skipped("<2@example.com>", "not this one")]
    assert (done.read, done.stored, done.skipped) == (3, 2, 1)


def test_a_folder_that_fails_keeps_no_other_waiting() -> None:
    source = Numbers({"a": [1], "b": [2, 3, 4], "c": [5]})
    source.failing = {"a"}
    target = Memory()

    with pytest.raises(Temporary):
        sync_mailbox(source, mailbox(), target)

    assert len(target.emails) == 4


def test_lists_of_folders_mean_those_below_too() -> None:
    allowed = Choice(mailbox(folder_allowlist=[["INBOX"]], folder_denylist=[["inbox", "claims"]]))

    paths = [("Inbox",), ("Inbox", "Claims"), ("Inbox", "Claims", "2020"), ("Inbox2",), ("Junk",)]

    assert [allowed.has_folder(path) for path in paths] == [True, False, False, False, False]


parts = st.sampled_from(["A", "b", "C"])
paths = st.lists(parts, min_size=1, max_size=3)


@given(paths, st.lists(paths, max_size=3), st.lists(paths, max_size=3))
def test_folders_are_chosen_as_the_lists_say(
    path: list[str], allow: list[list[str]], deny: list[list[str]]
) -> None:
    def below(one: list[str]) -> bool:
        return path[: len(one)] == one

    expected = (not allow or any(map(below, allow))) and not any(map(below, deny))

    choice = Choice(mailbox(folder_allowlist=allow, folder_denylist=deny))

    assert choice.has_folder([part.swapcase() for part in path]) is expected


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, True),
        ({"participant_allowlist": ["BOB@x.org"]}, True),
        ({"participant_allowlist": ["eve@x.org"]}, False),
        ({"participant_domain_allowlist": ["Y.org"]}, True),
        ({"participant_domain_allowlist": ["z.org"], "participant_allowlist": ["bob@x.org"]}, True),
        ({"participant_denylist": ["ann@example.com"]}, False),
        ({"participant_domain_denylist": ["x.org"], "participant_allowlist": ["bob@x.org"]}, False),
        ({"participant_domain_denylist": ["org"]}, True),
    ],
)
def test_participants_are_those_from_and_to_copies_included(
    settings: dict[str, list[str]], wanted: bool
) -> None:
    raw = (
        b"Message-ID: <1@x>\r\nFrom: =?utf-8?q?=C3=84nn?= <Ann@Example.com>\r\n"
        b"To: a@y.org,\r\n bob@x.org\r\nBcc: c@w.org\r\n\r\nTo: eve@x.org"
    )

    assert Choice(mailbox(**settings)).has_email(email(1, raw=raw)) is wanted


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 6), st.integers(1, 40))
def test_batches_are_bounded_in_order_and_whole(sizes: list[int], most: int, size: int) -> None:
    emails = [EmailNew(str(n), "m", "t", "x" * length) for n, length in enumerate(sizes)]

    found = list(batches(emails, most=most, most_bytes=size))

    assert [one for batch in found for one in batch] == emails
    for batch in found:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(len(one.mime_content) for one in batch) <= size


def test_an_e_mail_without_message_id_has_always_the_same_id() -> None:
    one, again = email(1, raw=b"Subject: x\r\n\r\nA"), email(2, raw=b"Subject: x\r\n\r\nA")

    assert one.id == again.id
    assert one.id != email(1, raw=b"Subject: x\r\n\r\nB").id


def test_contents_of_files_stay_only_if_asked_for() -> None:
    raw = (
        b"Message-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nText\r\n"
        b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\n\r\nSECRET\r\n--b--\r\n'
    )
    known = Known("m", (), 0)
    bare = email_new(raw, known, contents=False)
    whole = email_new(raw, known, contents=True)

    assert isinstance(bare, EmailNew)
    assert isinstance(whole, EmailNew)
    assert "SECRET" not in bare.mime_content
    assert "SECRET" in whole.mime_content
    assert [(one.name, one.size) for one in bare.attachments] == [("a.pdf", 6)]


def test_a_too_large_e_mail_is_skipped() -> None:
    raw = b"Message-ID: <1@x>\r\n\r\n" + b"x" * (32 << 20)

    assert isinstance(email_new(raw, Known("m", (), 0), contents=True), Skipped)
