"""Replies, signatures and quotations in plain text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.mail.split import Parts, split_text
from tests.mail.samples import sample, samples

REPLY = "Thanks, that works for us."

MARKS = {
    "gmail en": "On Wed, May 1, 2024 at 10:00 AM Bob Smith <bob@example.com> wrote:",
    "gmail en wrapped": (
        "On Wed, May 1, 2024 at 10:00 AM Bob Smith, the one with a long name <\n"
        "bob@example.com> wrote:"
    ),
    "apple de": "Am 01.05.2024 um 10:00 schrieb Bob <bob@example.com>:",
    "thunderbird de": "Am 01.05.24 um 10:00 schrieb Bob Smith:",
    "gmail de": "Am Mi., 1. Mai 2024 um 10:00 Uhr schrieb Bob Smith <bob@example.com>:",
    "gmail fr": "Le mer. 1 mai 2024 à 10:00, Bob Smith <bob@example.com> a écrit :",
    "gmail es": "El mié, 1 may 2024 a las 10:00, Bob Smith (<bob@example.com>) escribió:",
    "gmail it": "Il giorno mer 1 mag 2024 alle ore 10:00 Bob Smith <bob@example.com> ha scritto:",
    "gmail pt": "Em qua., 1 de mai. de 2024 às 10:00, Bob Smith <bob@example.com> escreveu:",
    "gmail nl": "Op wo 1 mei 2024 om 10:00 schreef Bob Smith <bob@example.com>:",
    "gmail sv": "Den ons 1 maj 2024 kl 10:00 skrev Bob Smith <bob@example.com>:",
    "gmail da": "Den ons. 1. maj 2024 kl. 10.00 skrev Bob Smith <bob@example.com>:",
    "gmail no": "ons. 1. mai 2024 kl. 10:00 skrev Bob Smith <bob@example.com>:",
    "gmail fi": "ke 1. toukok. 2024 klo 10.00 Bob Smith (bob@example.com) kirjoitti:",
    "gmail pl": "śr., 1 maj 2024 o 10:00 Bob Smith <bob@example.com> napisał(a):",
    "tb pl": "W dniu 01.05.2024 o 10:00, Bob Smith pisze:",
    "gmail cs": "st 1. 5. 2024 v 10:00 odesílatel Bob Smith <bob@example.com> napsal:",
    "gmail sk": "st 1. 5. 2024 o 10:00 Bob Smith <bob@example.com> napísal(a):",
    "gmail hu": "Bob Smith <bob@example.com> ezt írta (időpont: 2024. máj. 1., Sze, 10:00):",
    "gmail ro": "mie., 1 mai 2024 la 10:00, Bob Smith <bob@example.com> a scris:",
    "gmail tr": "Bob Smith <bob@example.com>, 1 May 2024 Çar, 10:00 tarihinde şunu yazdı:",
    "gmail ru": "ср, 1 мая 2024 г. в 10:00, Bob Smith <bob@example.com>:",
    "mailru": "Среда, 1 мая 2024, 10:00 +03:00 от Bob Smith <bob@example.com>:",
    "tb ru": "01.05.2024 10:00, Bob Smith пишет:",
    "yandex": '01.05.2024, 10:00, "Bob Smith" <bob@example.com>:',
    "gmail uk": "ср, 1 трав. 2024 р. о 10:00 Bob Smith <bob@example.com> пише:",
    "gmail el": "Στις Τετ 1 Μαΐ 2024 στις 10:00 π.μ., ο/η Bob Smith <bob@example.com> έγραψε:",
    "gmail ja": "2024年5月1日(水) 10:00 Bob Smith <bob@example.com>:",
    "gmail zh": "Bob Smith <bob@example.com> 于2024年5月1日周三 10:00写道：",
    "gmail tw": "Bob Smith <bob@example.com> 於 2024年5月1日 週三 上午10:00寫道：",
    "gmail ko": "2024년 5월 1일 (수) 오전 10:00, Bob Smith <bob@example.com>님이 작성:",
    "gmail he": (
        "\u202bבתאריך יום ד׳, 1 במאי 2024 ב-10:00 מאת \u202aBob Smith\u202c\u200f"
        " <\u202abob@example.com\u202c\u200f>:\u202c"
    ),
    "gmail ar": (
        "في الأربعاء، 1 مايو 2024 في 10:00 ص تمت كتابة ما يلي بواسطة Bob Smith <bob@example.com>:"
    ),
    "gmail vi": "Vào Th 4, 1 thg 5, 2024 vào lúc 10:00 Bob Smith <bob@example.com> đã viết:",
    "gmail ca": "Missatge de Bob Smith <bob@example.com> del dia dc., 1 de maig 2024 a les 10:00:",
    "outlook en": (
        "From: Bob Smith <bob@example.com>\n"
        "Sent: Wednesday, May 1, 2024 10:00 AM\n"
        "To: Ann <ann@example.com>\n"
        "Cc: C <c@example.com>\n"
        "Subject: RE: Visit"
    ),
    "outlook bold": (
        "*From:* Bob Smith <bob@example.com>\n"
        "*Sent:* Wednesday, May 1, 2024 10:00 AM\n"
        "*To:* Ann\n"
        "*Subject:* RE: Visit"
    ),
    "outlook de": (
        "Von: Bob Smith <bob@example.com>\n"
        "Gesendet: Mittwoch, 1. Mai 2024 10:00\n"
        "An: Ann <ann@example.com>\n"
        "Betreff: AW: Besuch"
    ),
    "outlook fr": (
        "De : Bob Smith <bob@example.com>\n"
        "Envoyé : mercredi 1 mai 2024 10:00\n"
        "À : Ann\n"
        "Objet : RE: Visite"
    ),
    "outlook fr2": "De: Bob Smith\nDate: mercredi, 1 mai 2024 à 10:00\nÀ: Ann\nObjet: Re: x",
    "outlook es": (
        "De: Bob Smith <bob@example.com>\n"
        "Enviado el: miércoles, 1 de mayo de 2024 10:00\n"
        "Para: Ann\n"
        "Asunto: RE: Visita"
    ),
    "outlook it": (
        "Da: Bob Smith <bob@example.com>\n"
        "Inviato: mercoledì 1 maggio 2024 10:00\n"
        "A: Ann\n"
        "Oggetto: R: Visita"
    ),
    "outlook pt": (
        "De: Bob Smith <bob@example.com>\n"
        "Enviada em: quarta-feira, 1 de maio de 2024 10:00\n"
        "Para: Ann\n"
        "Assunto: RES: Visita"
    ),
    "outlook nl": (
        "Van: Bob Smith <bob@example.com>\n"
        "Verzonden: woensdag 1 mei 2024 10:00\n"
        "Aan: Ann\n"
        "Onderwerp: RE: Bezoek"
    ),
    "outlook sv": "Från: Bob\nSkickat: den 1 maj 2024 10:00\nTill: Ann\nÄmne: SV: x",
    "outlook da": "Fra: Bob\nSendt: 1. maj 2024 10:00\nTil: Ann\nEmne: SV: x",
    "outlook fi": (
        "Lähettäjä: Bob\n"
        "Lähetetty: keskiviikko 1. toukokuuta 2024 10.00\n"
        "Vastaanottaja: Ann\n"
        "Aihe: VS: x"
    ),
    "outlook pl": "Od: Bob\nWysłano: środa, 1 maja 2024 10:00\nDo: Ann\nTemat: RE: x",
    "outlook cs": "Od: Bob\nOdesláno: středa 1. května 2024 10:00\nKomu: Ann\nPředmět: RE: x",
    "outlook hu": "Feladó: Bob\nElküldve: 2024. május 1., szerda 10:00\nCímzett: Ann\nTárgy: RE: x",
    "outlook ru": "От: Bob\nОтправлено: 1 мая 2024 г. 10:00\nКому: Ann\nТема: RE: x",
    "outlook tr": "Kimden: Bob\nGönderildi: 1 Mayıs 2024 Çarşamba 10:00\nKime: Ann\nKonu: RE: x",
    "outlook zh": (
        "发件人: Bob <bob@example.com>\n发送时间: 2024年5月1日 10:00\n收件人: Ann\n主题: RE: x"
    ),
    "outlook tw": "寄件者: Bob\n寄件日期: 2024年5月1日 10:00\n收件者: Ann\n主旨: RE: x",
    "outlook ja": "差出人: Bob\n送信日時: 2024年5月1日 10:00\n宛先: Ann\n件名: RE: x",
    "outlook ko": "보낸 사람: Bob\n보낸 날짜: 2024년 5월 1일 10:00\n받는 사람: Ann\n제목: RE: x",
    "outlook ar": "من: Bob\nتم الإرسال: 1 مايو 2024\nإلى: Ann\nالموضوع: RE: x",
    "underscores": (
        "________________________________\nFrom: Bob\nSent: 1 May 2024\nTo: Ann\nSubject: x"
    ),
    "original": "-----Original Message-----\nFrom: Bob",
    "qq": '------------------ 原始邮件 ------------------\n发件人: "Bob"<bob@example.com>;',
    "163": 'At 2024-05-01 10:00:00, "Bob Smith" <bob@example.com> wrote:',
    "163zh": '在 2024-05-01 10:00:00，"Bob Smith" <bob@example.com> 写道：',
    "lotus": "----- Forwarded by Ann/ACME on 01/05/2024 10:00 -----",
    "yahoo": "On Wednesday, May 1, 2024 at 10:00:00 AM GMT+1, Bob Smith <bob@example.com> wrote:",
    "proton": (
        "------- Original Message -------\n"
        "On Wednesday, May 1st, 2024 at 10:00, Bob <bob@example.com> wrote:"
    ),
    "samsung": (
        "-------- Original message --------\n"
        "From: Bob <bob@example.com>\n"
        "Date: 01/05/2024 10:00 (GMT+00:00)\n"
        "To: Ann\n"
        "Subject: x"
    ),
    "samsung de": (
        "-------- Ursprüngliche Nachricht --------\n"
        "Von: Bob\n"
        "Datum: 01.05.24 10:00 (GMT+01:00)\n"
        "An: Ann"
    ),
    "mutt": "* Bob Smith <bob@example.com> [2024-05-01 10:00 +0200]:",
    "gnus": "Bob Smith <bob@example.com> writes:",
    "quoting": "Quoting Bob Smith <bob@example.com>:",
    "horde de": "Zitat von Bob Smith <bob@example.com>:",
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("sign", ["", "> "])
def test_a_quoted_mail_is_told_from_the_reply_above_it(mark: str, sign: str) -> None:
    quoted = f"{sign}Does it work?\n{sign}Bob"
    assert split_text(f"{REPLY}\n\n{mark}\n\n{quoted}").reply == REPLY


TRIMMED = [name.rpartition("/")[2] for name in samples("reply_trimmer/emails/*.txt")]
# A mail that is all quotation stays whole here; in these samples it becomes (almost) empty.
OTHERWISE = {"forwarded_message.txt", "spam_1.txt"}


@pytest.mark.parametrize("name", [name for name in TRIMMED if name not in OTHERWISE])
def test_of_samples_in_many_languages_the_reply_remains(name: str) -> None:
    text = sample(f"reply_trimmer/emails/{name}").decode()
    wanted = sample(f"reply_trimmer/trimmed/{name}").decode()
    assert split_text(text).reply.split() == wanted.split()


@pytest.mark.parametrize("name", sorted(OTHERWISE))
def test_a_mail_that_is_all_quotation_stays_whole(name: str) -> None:
    text = sample(f"reply_trimmer/emails/{name}").decode()
    assert split_text(text) == Parts(text.strip("\n"))


@pytest.mark.parametrize(
    "text",
    [
        "From: the first of May\nwe are open again",
        "He wrote:\nI am not coming",
        "On Monday I wrote\nto you",
        "Items --- see below ---\nfour boxes",
        "On 5 May at 10:00 we meet. Agenda:\n- a\n- b",
        "Dear Bob,\n\nOrder 1234 of 5 May 2024 has these items:\n\n- ham\n- eggs",
        "The report of 2023 and 2024 says:\nall good",
        "Please send it to ann@example.com, she said:\nno problem",
        "Hi,\n\nFrom: London\nTo: Paris\nDate: 1 May 2024\nPassengers: 2\n\nThanks, Ann",
        "Sent the parcel from my office.\nPlease confirm.",
        "Best,\nwe need the following:\n- 1\n- 2",
        "Title\n=====\ntext\n-----\nmore",
        "Thanks,\nAnn\n\nPS: call +44 20 7946 0000?",
    ],
)
def test_ordinary_text_is_all_reply(text: str) -> None:
    assert split_text(text) == Parts(text)


@pytest.mark.parametrize(
    "signature",
    [
        "-- \nAnn",
        "--\nAnn",
        "Sent from my iPhone",
        "Gesendet von meinem iPhone",
        "Von meinem iPhone gesendet",
        "Enviado desde mi iPhone",
        "Envoyé de mon iPhone",
        "Inviato da iPhone",
        "Verstuurd vanaf mijn iPhone",
        "Skickat från min iPhone",
        "Odesláno z iPhonu",
        "Отправлено с iPhone",
        "发自我的iPhone",
        "iPhoneから送信",
        "Get Outlook for iOS",
        "Outlook für Android herunterladen",
        "Kind regards,\nAnn Smith\nHead of Sales | ACME Ltd\nT: +44 20 7946 0000\nwww.acme.com",
        "Mit freundlichen Grüßen\n\nMax Muster\nMuster GmbH\n10115 Berlin\nTel.: +49 30 123456",
        "Cordialement,\nJean Dupont\n01 23 45 67 89",
        "This e-mail and any attachments are confidential and intended solely for Ann.",
    ],
)
def test_a_signature_is_told_from_the_text(signature: str) -> None:
    assert split_text(f"Please call me.\n\n{signature}\n") == Parts("Please call me.", signature)


def test_a_closing_alone_is_part_of_the_letter() -> None:
    assert split_text("Hi\n\nBest regards,\nAnn").signature == ""


def test_an_answer_below_a_quotation_is_the_reply() -> None:
    text = "On 1 May 2024 at 10:00, Bob wrote:\n\n> Does it work?\n\nIt does.\n\n-- \nAnn"
    assert split_text(text) == Parts(
        "It does.", "-- \nAnn", "On 1 May 2024 at 10:00, Bob wrote:\n\n> Does it work?"
    )


def test_quoted_lines_that_are_answered_stay() -> None:
    text = "On 1 May 2024 at 10:00, Bob wrote:\n> Who?\nAnn.\n> When?\nNow."
    assert split_text(text).reply == "> Who?\nAnn.\n> When?\nNow."


def test_a_signature_below_the_quotation_is_found() -> None:
    text = "Yes.\n\nBob <b@example.com> wrote:\n> Well?\n\n-- \nAnn"
    assert split_text(text) == Parts("Yes.", "-- \nAnn", "Bob <b@example.com> wrote:\n> Well?")


@pytest.mark.parametrize(
    "piece",
    [
        "On 1 May 2024 at 10:00, Bob wrote:\n> a\n",
        "On 1 May 2024 at 10:00, Bob wrote:\n",
        "From: a@b.c\nSent: x\n",
        "From: \n",
        "1 2 3 @ <",
        "1 2 @\n",
        "> ",
        "--\n",
        "```\n",
        "Sent from ",
        "Best regards,\n",
        "-----",
        "\n",
        " ",
    ],
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    text = (piece * 262_144)[:262_144]
    started = time.process_time()
    split_text(text)
    split_text("a\n" + text + "\nb")
    assert time.process_time() - started < 8  # it is a matter of minutes where it grows faster


@given(
    st.lists(
        st.sampled_from(
            [
                "> a",
                "b",
                "",
                "--",
                "On 1 May 2024 at 10:00, B wrote:",
                "From: a@b.c",
                "Sent: x",
                "Sent from my iPhone",
                "-----Original Message-----",
                "\x01",
                "\x02Ann",
                "```",
            ]
        )
        | st.text(max_size=20),
        max_size=12,
    ).map("\n".join)
)
def test_no_text_is_lost(text: str) -> None:
    parts = split_text(text)
    kept = "".join(parts)
    hidden = "\x01\x02\u200b\ufeff\u1427"
    for sign in set(text) - set(hidden):
        if not sign.isspace():
            assert kept.count(sign) == text.count(sign)
    if any(not sign.isspace() and sign not in hidden for sign in text):
        assert parts.reply.strip()
