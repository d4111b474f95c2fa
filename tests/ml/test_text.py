"""What the model reads of e-mails, chats and everything else that is a comment."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.comments import Message, RichText, Text
from lodestream.ml.text import MAX_CHARS, model_input, model_input_of, newest_part


def comment(*messages: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"id": "c1", "timestamp": "2024-05-01", "messages": messages})


def mail(body: str, subject: str | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"body": {"text": body}}
    if subject is not None:
        message["subject"] = {"text": subject}
    return message


def test_an_email_is_its_subject_and_body() -> None:
    assert model_input(comment(mail("Where is it?", "Order 17"))) == "Order 17\nWhere is it?"


def test_signature_names_and_times_are_left_out() -> None:
    message = mail("Please pay.") | {
        "signature": {"text": "Kind regards, Ann"},
        "from": "ann@example.com",
        "to": ["bob@example.com"],
        "sent_at": "2024-05-01T00:00:00Z",
    }
    assert model_input(comment(message)) == "Please pay."


def test_every_turn_of_a_chat_is_read() -> None:
    turns = [mail("Hello"), mail("Hi, how can I help?"), mail("My card is lost")]
    assert model_input(comment(*turns)) == "Hello\nHi, how can I help?\nMy card is lost"


def test_of_a_thread_of_mails_only_the_newest_is_read() -> None:
    thread = [mail("When do you come?", "Visit"), mail("On Monday.", "Re: Visit")]
    assert model_input(comment(*thread)) == "Re: Visit\nOn Monday."


@pytest.mark.parametrize("messages", [[], [mail("")], [mail(" \n\t "), mail("\u200b", " ")], [{}]])
def test_a_comment_without_text_gives_an_empty_text(messages: list[dict[str, Any]]) -> None:
    assert model_input(comment(*messages)) == ""


def test_messages_that_are_not_stored_read_the_same() -> None:
    message = Message(body=RichText(text="Where is it?\n> old"), subject=Text(text="Order 17"))
    assert model_input_of([message]) == model_input(
        comment(mail("Where is it?\n> old", "Order 17"))
    )


def test_emoji_and_joined_letters_survive() -> None:
    text = "👩‍👩‍👧 👍🏽 می‌خواهم"
    assert model_input(comment(mail(text))) == text


def test_what_no_reader_sees_is_taken_out() -> None:
    assert model_input(comment(mail("\ufeffa\x00b\u200b c\xadd\u202e"))) == "ab cd"


def test_blanks_are_brought_to_one() -> None:
    assert model_input(comment(mail("a \t\xa0 b \r\n \r\n\n c"))) == "a b\nc"


def test_a_long_text_is_cut() -> None:
    text = model_input(comment(*[mail("word " * 200_000)] * 3))
    assert len(text) <= MAX_CHARS
    assert text.startswith("word word")


def test_a_long_text_of_marks_is_read_in_time() -> None:
    # Patterns that look twice at every character would take minutes.
    assert model_input(comment(mail("on wrote from: \n" * 65_536)))
    assert model_input(comment(mail("on " + "a " * 500_000 + "\nwrote:" * 100)))


REPLIES = {
    "english": "On Mon, 1 May 2024 at 10:00, Bob <bob@example.com> wrote:",
    "english, broken": "On Mon, 1 May 2024 at 10:00, Bob\n<bob@example.com> wrote:",
    "german": "Am 01.05.2024 um 10:00 schrieb Bob <bob@example.com>:",
    "french": "Le lun. 1 mai 2024 à 10:00, Bob <bob@example.com> a écrit :",
    "spanish": "El lun, 1 may 2024 a las 10:00, Bob (<bob@example.com>) escribió:",
    "chinese": "Bob <bob@example.com> 于2024年5月1日周一 上午10:00写道：",
    "outlook": "-----Original Message-----",
    "outlook, german": "-----Ursprüngliche Nachricht-----",
    "header": "From: Bob <bob@example.com>\nSent: Monday, 1 May 2024 10:00\nTo: Ann\nSubject: X",
    "header, bold": "*From:* Bob <bob@example.com>\n*Sent:* Monday, 1 May 2024 10:00",
    "header, french": "De : Bob <bob@example.com>\nEnvoyé : lundi 1 mai 2024 10:00",
}


@pytest.mark.parametrize("mark", REPLIES.values(), ids=REPLIES)
def test_what_a_reply_quotes_is_left_out(mark: str) -> None:
    assert newest_part(f"Thanks, that works.\n\n{mark}\nDoes it work?\nBob").strip() == (
        "Thanks, that works."
    )


def test_an_answer_below_the_quotation_is_read() -> None:
    body = f"{REPLIES['english']}\n\n> Does it work?\n> Bob\n\nIt does not."
    assert newest_part(body).strip() == "It does not."


def test_answers_between_quoted_lines_are_read() -> None:
    body = f"{REPLIES['german']}\n> Geht es?\nJa.\n> Wann?\nMorgen."
    assert newest_part(body) == "Ja.\nMorgen."


def test_a_forwarded_mail_is_read() -> None:
    body = f"{REPLIES['header']}\n\nWhere is my order?"
    assert "Where is my order?" in newest_part(body)


def test_a_signature_below_its_mark_is_left_out() -> None:
    assert newest_part("Please call me.\n-- \nAnn\n+44 20 7946 0000") == "Please call me."


@pytest.mark.parametrize(
    "body",
    [
        "From: the first of May\nwe are open again",
        "He wrote:\nI am not coming",
        "On Monday I wrote\nto you",
        "Items --- see below ---\nfour boxes",
    ],
)
def test_ordinary_sentences_are_not_taken_for_marks(body: str) -> None:
    assert newest_part(body) == body


@given(st.lists(st.tuples(st.text(max_size=200), st.none() | st.text(max_size=30)), max_size=4))
def test_any_messages_give_a_text_that_can_be_encoded(
    messages: list[tuple[str, str | None]],
) -> None:
    text = model_input(comment(*(mail(body, subject) for body, subject in messages)))
    text.encode()
    assert text == text.strip()


def test_a_lone_surrogate_is_taken_out() -> None:
    assert model_input_of([Message(body=RichText(text="a\ud800b"))]) == "ab"
