"""The marks with which mail programs begin what they quote, in plain text and many languages.

Three kinds: a line that says who wrote what follows (`On Monday, 1 May 2024, Ann wrote:`), a block
of headers (`From:`, `Sent:`, `To:`, `Subject:`), and a divider (`-----Original Message-----`).
Each look at a line takes a bounded time: it reads a few lines, none of them further than
`MAX_MARK` characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

MAX_MARK: Final = 300
"""A longer line begins no quotation."""

_LINES_OF_ATTRIBUTION: Final = 6
_LINES_OF_HEADERS: Final = 9


class MarkKind(Enum):
    """How a quotation is introduced."""

    ATTRIBUTION = "attribution"
    HEADERS = "headers"
    DIVIDER = "divider"


class Mark(NamedTuple):
    """A mark, and the number of the line behind it."""

    kind: MarkKind
    end: int


def find_mark(lines: Sequence[str], at: int) -> Mark | None:
    """Return the mark that begins in line `at`, or None."""
    line = lines[at]
    if len(line) > MAX_MARK or line.isspace() or not line:
        return None
    if _DIVIDER.fullmatch(line) or _BEGIN_FORWARDED.fullmatch(line):
        return Mark(MarkKind.DIVIDER, at + 1)
    if _HEADER.match(line):
        end = _end_of_headers(lines, at)
        if end is not None:
            return Mark(MarkKind.HEADERS, end)
    if _EVIDENCE.search(line):
        end = _end_of_attribution(lines, at)
        if end is not None:
            return Mark(MarkKind.ATTRIBUTION, end)
    return None


# Dividers

_TITLES: Final = (
    "original message|original appointment|forwarded message|forwarded by|begin forwarded message|"
    "reply message|replied message|message transféré|message transmis|message d['’]origine|"
    "message original|message initial|ursprüngliche nachricht|ursprünglicher termin|"
    "weitergeleitete nachricht|originalnachricht|original-nachricht|mensaje original|"
    "mensaje reenviado|missatge original|mensagem original|mensagem encaminhada|"
    "messaggio originale|messaggio inoltrato|oorspronkelijk bericht|origineel bericht|"
    "doorgestuurd bericht|oprindelig meddelelse|videresendt meddelelse|videresendt besked|"
    "opprinnelig melding|videresendt melding|ursprungligt meddelande|vidarebefordrat meddelande|"
    "originalmeddelande|alkuperäinen viesti|välitetty viesti|wiadomość oryginalna|"
    "oryginalna wiadomość|przekazana wiadomość|wiadomość przekazana|původní zpráva|"
    "přeposlaná zpráva|pôvodná správa|eredeti üzenet|továbbított üzenet|mesaj original|"
    "mesaj redirecționat|izvorna poruka|originalna poruka|orijinal mesaj|özgün ileti|"
    "yönlendirilmiş ileti|исходное сообщение|пересылаемое сообщение|пересланное сообщение|"
    "оригинальное сообщение|пересылаемое письмо|вихідне повідомлення|оригінальне повідомлення|"
    "переслане повідомлення|оригинално съобщение|αρχικό μήνυμα|προωθημένο μήνυμα|"
    "原始邮件|原始邮件信息|原邮件|转发邮件信息|转发邮件|原始郵件|轉寄郵件|轉寄的郵件|转发的邮件|"
    "転送メッセージ|元のメッセージ|転送されたメッセージ|원본 메시지|원본 메일|전달된 메시지|"
    "הודעה מקורית|הודעה שהועברה|الرسالة الأصلية|رسالة معاد توجيهها|thư gốc|tin nhắn gốc"
)
_DIVIDER: Final = re.compile(
    rf"[>\s*]{{0,8}}[-_=]{{2,40}} ?(?:{_TITLES})\b[^-_=\n]{{0,120}}[-_=]{{0,40}}[\s*]{{0,8}}"
    # Zoho puts the whole attribution between dashes.
    r"|\s{0,8}-{2,8} .{4,240}(?:wrote|schrieb|a écrit|escribió|ha scritto|escreveu|schreef) ?"
    r"-{2,8}\s{0,8}",
    re.IGNORECASE,
)
_BEGIN_FORWARDED: Final = re.compile(
    r"\s{0,8}(?:begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-?mail)|"
    r"début du (?:message|e-?mail) (?:réexpédié|transféré)|inicio del mensaje reenviado|"
    r"início da mensagem (?:encaminhada|reencaminhada)|inizio (?:del )?messaggio inoltrato|"
    r"begin doorgestuurd bericht|start på videresendt (?:besked|melding)|"
    r"vidarebefordrat (?:brev|mejl)|välitetty viesti alkaa|początek przekazywanej wiadomości|"
    r"начало переадресованного сообщения|переслане повідомлення|下面是被转发的邮件|"
    r"開始轉寄郵件|転送されたメッセージ|전달된 메시지)\s?[:：]\s{0,8}",
    re.IGNORECASE,
)

# Blocks of headers. What counts is how many different kinds of them follow each other.

_HEADER_WORDS: Final = {
    "sender": (
        "from|von|de|da|van|od|fra|från|lähettäjä|feladó|expéditeur|remitente|remetente|mittente|"
        "afzender|kimden|gönderen|от|отправитель|від|từ|από|发件人|寄件者|寄件人|差出人|"
        "送信者|보낸 ?사람|发送人|из|de la|מאת|من"
    ),
    "sent": (
        "sent|gesendet|gesendet am|envoyé|envoyé le|enviado|enviado el|enviado em|enviada em|"
        "enviada|inviato|data invio|verzonden|verzonden op|wysłano|data wysłania|sendt|skickat|"
        "lähetetty|odesláno|odoslané|elküldve|trimis|gönderilme tarihi|gönderildi|отправлено|"
        "надіслано|изпратено|đã gửi|στάλθηκε|发送时间|发送日期|寄件日期|傳送時間|送信日時|"
        "보낸 ?날짜|נשלח|تم الإرسال|تاريخ الإرسال"
    ),
    "date": (
        "date|datum|data|fecha|dato|päivämäärä|päiväys|dátum|tarih|дата|ngày|ημερομηνία|日期|时间|"
        "日時|日付|날짜|תאריך|تاريخ|التاريخ"
    ),
    "receiver": (
        "to|an|à|a|para|aan|do|komu|til|till|vastaanottaja|címzett|către|kime|alıcı|кому|до|"
        "до кого|đến|προς|收件人|宛先|받는 ?사람|אל|إلى|destinataire|destinatario|"
        "destinatário|empfänger|bis|pour"
    ),
    "copy": (
        "cc|bcc|kopie|copie|copia|cópia|kopia|kopi|kopio|dw|másolat|bilgi|копия|копія|κοιν|抄送|"
        "副本|참조|cc an|reply-to|antwort an|répondre à|rispondi a|risposta|responder a|"
        "antwoord aan"
    ),
    "subject": (
        "subject|betreff|objet|sujet|asunto|assunto|oggetto|onderwerp|temat|emne|ämne|aihe|předmět|"
        "predmet|tárgy|subiect|konu|тема|относно|chủ đề|θέμα|主题|主旨|主題|件名|제목|נושא|الموضوع|"
        "priority|importance|wichtigkeit|importancia|belang"
    ),
}
_KINDS: Final = tuple(_HEADER_WORDS)
_HEADER: Final = re.compile(
    r"[>\s]{0,8}[*_]{0,2}(?:"
    + "|".join(f"(?P<{kind}>{words})" for kind, words in _HEADER_WORDS.items())
    + r")[*_]{0,2}[ \xa0]?[:：]",
    re.IGNORECASE,
)


def _end_of_headers(lines: Sequence[str], at: int) -> int | None:
    """Return the line behind a block of headers that begins at `at`; None if it is none.

    A block names the sender and the date, or the sender and both receiver and subject. It may begin
    with another header than the sender if it has at least three kinds. Up to two lines between them
    may be long headers, continued. Goods and travellers have senders, receivers and dates too: a
    block has an address, a subject, or the word for `sent`.
    """
    first = _kind_of_header(lines[at])
    kinds: set[str] = set()
    address = False
    end, strange = at, 0
    for number in range(at, min(at + _LINES_OF_HEADERS + 3, len(lines))):
        line = lines[number][:MAX_MARK]
        kind = _kind_of_header(line)
        if kind is not None:
            kinds.add(kind)
            address = address or "@" in line
            end, strange = number + 1, 0
        else:
            strange += 1
            # One blank line may follow the sender only: some programs leave it in bold headers.
            if strange > 2 or (not line.strip() and len(kinds) > 1):
                break
    if "sender" not in kinds or not (address or kinds & {"sent", "subject"}):
        return None
    dated = bool(kinds & {"sent", "date"})
    if first == "sender" and (dated or {"receiver", "subject"} <= kinds):
        return end
    return end if first != "sender" and first != "receiver" and len(kinds) > 2 else None


def _kind_of_header(line: str) -> str | None:
    match = _HEADER.match(line, 0, MAX_MARK)
    return None if match is None else match.lastgroup


# Attributions

_EVIDENCE: Final = re.compile(r"[0-9@<]")
_VERBS: Final = re.compile(
    r"\b(?:wrote|writes|said|schrieb|geschrieben|a écrit|écrit|escribió|escribi[oó]|ha scritto|"
    r"scrisse|scritto|escreveu|schreef|geschreven|skrev|skreiv|skrifaði|kirjoitti|napisał|napisała|"
    r"napisał\(a\)|pisze|napsal|napsala|napsal\(a\)|napísal|napísal\(a\)|írta|ezt írta|a scris|"
    r"yazdı|şunu yazdı|написал|написала|написал\(а\)|пишет|пише|написав|написала|написа|έγραψε|"
    r"je napisao|je napisala|napisao je|va escriure|đã viết|menulis|เขียนว่า|כתב|כתבה|"
    r"كتب)(?!\w)|写道|寫道|写到|のメール|書きました|書き込みました|님이 작성|작성:|썼습니다",
    re.IGNORECASE,
)
_NUMBERS: Final = re.compile(r"\d+")
_CITES: Final = re.compile(
    r"(?:quoting|citing|zitat von|citando|citazione da|citation de|citerar|cytowanie|cytat)\b",
    re.IGNORECASE,
)
# An address as mail programs write it, not as people do in a sentence.
_ENCLOSED: Final = re.compile(r"[<(\[][^\s@<>()]{0,128}(?:\s[^@<>()]{1,60})?@[^\s@<>()]{1,128}")
_ADDRESS: Final = re.compile(r"[^\s@<>]{1,128}@[^\s@<>]{1,128}")
# Gmail in many languages: a date, a name and an address, but no verb.
_DATE_FIRST: Final = re.compile(
    r"\s{0,8}\d{4}[-/.年]\s?\d{1,2}[-/.月]\s?\d{1,2}日?[\s,]"
    r"(?:.{0,40}\d{1,2}:\d{2}.{0,12}\b(?:GMT|UTC)[+-]\d{1,2}:?\d{0,2}\s+\S.{0,200}"
    r"|.{1,200}<[^\s<>@]{1,128}@[^\s<>@]{1,128}>\s?[:：]?)\s{0,8}"
)


def _end_of_attribution(lines: Sequence[str], at: int) -> int | None:
    """Return the line behind `<who> wrote on <when>:`; None if no such thing begins at `at`.

    It may be broken into several lines anywhere. There has to be a date or an address in it: people
    write `he wrote:` too.
    """
    parts: list[str] = []
    chars = 0
    for number in range(at, min(at + _LINES_OF_ATTRIBUTION, len(lines))):
        line = lines[number].strip(_AROUND)
        if parts and not _CONTINUES.match(line):
            return None
        chars += len(line)
        if chars > MAX_MARK:
            return None
        parts.append(line)
        if line.endswith((":", "：")):
            if not _is_attribution(parts, lines, number + 1):
                return None
            # Text that happens to hold a number may stand right above: then a later line begins it.
            if not _YEAR_OR_TIME.search(parts[0]) and any(
                _YEAR_OR_TIME.search(part) and _is_attribution(parts[later:], lines, number + 1)
                for later, part in enumerate(parts[1:], 1)
            ):
                return None
            return number + 1
        if number == at and line.count("<") == line.count(">") and _DATE_FIRST.fullmatch(line):
            return number + 1
        if _SENTENCE_END.search(line):
            return None
    return None


# Nothing that is quoted continues it, but a closing sign may stand at the beginning of a line.
_CONTINUES: Final = re.compile(r"(?!>)|>\s?(?:[^\d\s>]{2,20}\s?)?[:：]")
_SENTENCE_END: Final = re.compile(r"\w{5}\.$|\.\.$|[!?;…]$")
# Marks of direction stand around lines in Hebrew and Arabic.
_AROUND: Final = " \t\xa0\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_YEAR_OR_TIME: Final = re.compile(r"(?<!\d)(?:19|20)\d{2}(?!\d)|\d[:.]\d{2}(?!\d)|\d[hH]\d{2}")


def _is_attribution(parts: Sequence[str], lines: Sequence[str], after: int) -> bool:
    text = " ".join(part for part in parts if part)
    address = _ADDRESS.search(text) is not None
    enclosed = address and _ENCLOSED.search(text) is not None
    numbers = len(_NUMBERS.findall(text))
    dated = numbers > 1 and _YEAR_OR_TIME.search(text) is not None
    if not enclosed and not dated:
        return False
    if _DATE_FIRST.fullmatch(text) or _VERBS.search(text) or _CITES.match(text):
        return True
    # In a language that is not known above: who and when, to the minute or above quoted lines.
    to_the_minute = numbers >= 4 and len(_YEAR_OR_TIME.findall(text)) > 1
    return address and numbers >= 3 and ((enclosed and to_the_minute) or is_quoted(lines, after))


def is_quoted(lines: Sequence[str], at: int) -> bool:
    """Tell whether one of the next two lines that are not blank is marked as quoted."""
    following = [line for line in lines[at : at + 6] if line.strip()][:2]
    return any(line.startswith(">") for line in following)
