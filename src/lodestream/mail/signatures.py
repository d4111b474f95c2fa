"""Where a signature begins: a delimiter, a phone's `Sent from`, a closing with an address.

A closing alone (`Best regards, Ann`) is part of the letter. It begins a signature where it is
followed by what a reader would not call text: telephone numbers, addresses, offices, disclaimers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_MOST_LINES: Final = 14
_MOST_CHARS_OF_LINE: Final = 120
_MOST_CHARS_OF_CLOSING: Final = 60


def is_delimiter(line: str) -> bool:
    """Tell whether a line ends the text by convention: `--`, a dash alone, or an underline."""
    return len(line) < _MOST_CHARS_OF_LINE and _DELIMITER.fullmatch(line) is not None


_DELIMITER: Final = re.compile(
    r"--[ \t\xa0]?|[—–―][ \t\xa0]?|_{5,}\s{0,4}|-----BEGIN PGP SIGNATURE.*"
)


def is_sent_from(line: str) -> bool:
    """Tell whether a line is what a phone or a mail program adds: `Sent from my iPhone`."""
    return len(line) < _MOST_CHARS_OF_LINE and _SENT_FROM.fullmatch(line) is not None


_DEVICE: Final = (
    r"iphone|ipad|ipod|android|samsung|galaxy|huawei|xiaomi|oneplus|pixel|nokia|htc|sony|xperia|lg|"
    r"motorola|blackberry|windows|mobile|phone|handy|smartphone|tablet|cell|device|mailbox|airmail|"
    r"outlook|yahoo|gmail|mail|e-?mail|aol|thunderbird|spark|protonmail|proton mail|fairmail|k-9|"
    r"gmx|web\.de|portable|m[oó]vil|tel[eé]fono|telefon\w*|celular|telefonino|mobiltelefon|mobil\w*|"
    r"t[eé]l[eé]phone|телефон\w*|смартфон\w*|устройств\w*|почт\w*|mac|laptop|pc|watch|tel[eé]fon\w*|"
    r"ti-\d+"
)
_SENT_FROM: Final = re.compile(
    r"\s*[<(\[*_]{0,4}(?:"
    # English, with whatever thing it was sent from, or by a thing that is known.
    r"(?:sent|written|typed|composed|dictated) (?:from|via|with|by|using|on) (?:a|an|my)\b.{1,80}"
    rf"|sent (?:from|via|with|by|using|on) .{{0,60}}\b(?:{_DEVICE})\b.{{0,60}}"
    rf"|sent (?:from|via|with|using) \[?[A-Z][\w.]*(?: [A-Z][\w.]*){{0,3}}\]?"
    rf"|(?:\w+ )?from (?:my )?(?:{_DEVICE})\b(?: \w+){{0,3}}"
    r"|(?:get|download|try) \[?(?:outlook|yahoo mail|spark|gmail|proton ?mail|bluemail)\b.{0,80}"
    r"|.{0,30}\boutlook (?:for|für|pour|para|per|voor|för|til|dla) (?:ios|android|mac)\b.{0,60}"
    # German, Dutch, Scandinavian
    rf"|(?:gesendet|geschickt|verschickt) (?:von|vom|mit|über|aus)\b.{{0,60}}"
    rf"\b(?:{_DEVICE})\b.{{0,40}}"
    rf"|(?:von|vom) (?:meinem|meiner)\b.{{0,60}}\b(?:{_DEVICE})\b.{{0,20}} (?:gesendet|geschickt)"
    r"|diese (?:nachricht|e-?mail|mail) wurde (?:von|mit)\b.{0,80}"
    r" (?:gesendet|verschickt|versendet)"
    rf"|(?:verzonden|verstuurd) (?:vanaf|vanuit|van|met|via|door)\b.{{1,80}}"
    rf"|(?:skickat|skickades|sendt|lähetetty) (?:från|fra|via|med)?\s?.{{0,60}}"
    rf"\b(?:{_DEVICE}).{{0,40}}"
    r"|lähetetty .{2,40}sta(?:ni)?"
    # Romance
    rf"|envoyé (?:depuis|de|à partir de|avec|via)\b.{{1,80}}"
    rf"|(?:enviado|enviada) (?:desde|de|do|da|a partir|com|con|vía|via|por)\b.{{0,60}}"
    rf"\b(?:{_DEVICE})\b.{{0,40}}"
    rf"|(?:inviato|inviata|trimis) (?:da|dal|dall['’]|con|tramite|de pe|din)\s?.{{0,60}}"
    rf"\b(?:{_DEVICE})\b.{{0,40}}"
    # Slavic and others
    rf"|(?:wysłane|wysłano|odesláno|odoslané) (?:z|ze|za pomocą|przez)\b.{{1,80}}"
    rf"|(?:отправлено|послано|надіслано|изпратено) (?:с|со|из|з|із|от|через)\b.{{1,80}}"
    r"|.{0,40}(?:dan|den|iphone'umdan|ımdan|imden) gönderildi"
    r"|.{0,40}(?:készülékemről|telefonomról|iphone-omról) küldve"
    # East Asian and right-to-left
    r"|(?:从|從)我的.{1,40}(?:发送|傳送|发出|寄出)|发自我的.{1,40}|(?:寄自|傳送自).{1,40}"
    r"|.{1,40}から送信(?:されました)?|나의 .{1,40}에서 보냄|내 .{1,40}에서 보냄|.{1,40}에서 보냄"
    r"|أُ?رسلت من .{1,40}|نשלח מ.{1,40}|נשלח מ.{1,40}"
    r")[\s>)\].!*_]{0,6}",
    re.IGNORECASE,
)


def signature_start(lines: Sequence[str], *, mark: str = "\x02") -> int | None:
    """Return the number of the line with which the signature begins; None if there is none.

    A line that begins with `mark` begins one whatever it says. Something stands above a signature:
    it is never the whole text.
    """
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return None
    end = _delimited(lines, first, mark)
    end = _above_appended(lines, len(lines) if end is None else end, first)
    closing = _closing(lines, end, first)
    start = end if closing is None else closing
    return start if start < len(lines) and any(one.strip() for one in lines[start:]) else None


def _delimited(lines: Sequence[str], first: int, mark: str) -> int | None:
    fenced = False
    for at, line in enumerate(lines):
        if line.startswith("```"):
            fenced = not fenced
        if fenced or at <= first:
            continue
        if line.startswith(mark):
            return at
        if is_delimiter(line):
            below = sum(1 for one in lines[at + 1 : at + 40] if one.strip())
            # An underline may as well stand in the middle of a text.
            if line.startswith("-") or below <= 10:
                return at
    return None


def _above_appended(lines: Sequence[str], end: int, first: int) -> int:
    """Return `end` without the phone's lines and the disclaimers above it."""
    bound = end
    while end > first + 1:
        line = lines[end - 1]
        if is_sent_from(line) or _DISCLAIMER.search(line[:400]):
            bound = end - 1
        elif line.strip():
            break
        end -= 1
    return bound


_DISCLAIMER: Final = re.compile(
    r"(?:this|the (?:information|contents?)(?: contained)? (?:in|of) this) (?:e-?mail|message|"
    r"communication)\b.{0,200}\b(?:confidential|intended (?:only|solely)|privileged)"
    r"|if you (?:are not|have received) (?:the intended|this (?:e-?mail|message)).{0,60}"
    r"(?:recipient|error|mistake)|please consider the environment before printing"
    r"|diese (?:e-?mail|nachricht)\b.{0,120}vertraulich|ce (?:message|courriel|mail)\b.{0,160}"
    r"confidentiel|este (?:mensaje|correo|e-?mail)\b.{0,160}confidenc|questo messaggio\b.{0,160}"
    r"(?:riservat|confidenzial)|dit (?:e-?mail)?bericht\b.{0,160}vertrouwelijk"
    r"|virus-?free\.? |this email has been (?:checked|scanned) for viruses",
    re.IGNORECASE,
)

_CLOSING: Final = re.compile(
    r"\s*(?:(?:with )?(?:my |our )?(?:kind(?:est)?|best|warm(?:est)?|many)? ?regards|"
    r"best(?: wishes)?|all the best|many thanks|thanks(?: (?:and|&) (?:kind |best )?regards|"
    r" a lot| again| in advance)?|thank you(?: very much| in advance)?|cheers|"
    r"yours(?: (?:sincerely|faithfully|truly))?|sincerely(?: yours)?|respectfully|rgds|br|"
    r"(?:mit )?(?:freundliche[nrm]?|beste[nr]?|liebe[nr]?|viele[n]?|herzliche[nr]?|schöne[nr]?) "
    r"gr[üu](?:ß|ss)e?n?(?: aus .{2,30})?|mfg|vg|lg|hochachtungsvoll|gruß|"
    r"(?:bien )?cordialement|(?:très )?cordialement|bien à vous|salutations(?: distinguées)?|"
    r"meilleures salutations|sincères salutations|un (?:cordial )?saludo|saludos(?: cordiales)?|"
    r"atentamente|atenciosamente|att|cumprimentos|abraços?|obrigad[oa]|"
    r"com os melhores cumprimentos|"
    r"cordiali saluti|distinti saluti|saluti|cordialmente|grazie|met vriendelijke groeten?|"
    r"vriendelijke groeten?|groeten?|mvg|hartelijke groeten?|med venlig hilsen|venlig hilsen|mvh|"
    r"med vennlig hilsen|vennlig hilsen|med vänliga hälsningar|vänliga hälsningar|"
    r"bästa hälsningar|hälsningar|ystävällisin terveisin|terveisin|z poważaniem|pozdrawiam|"
    r"pozdrowienia|s pozdravem|s pozdravom|üdvözlettel|cu stimă|saygılarımla|"
    r"с уважением|с наилучшими пожеланиями|з повагою|с уважение|με εκτίμηση|"
    r"此致|敬礼|祝好|谢谢|謝謝|よろしくお願い(?:いた)?します|敬具|감사합니다|בברכה|مع التحية)"
    r"(?:[\s,.!;:–—-]{0,4}|[,.!]? ?[/|–—-]{1,2} ?.{0,40}|,? .{0,30})",
    re.IGNORECASE,
)
_CONTACT: Final = re.compile(
    r"(?:\+|\b00|\(0|\b0)\d[\d\s()/.\-]{6,18}\d|\(\d{3}\) ?\d{3}|\b\d{3}[-.]\d{3}[-.]\d{4}\b"
    r"|\bhttps?://|\bwww\.|[^\s@]{1,64}@[^\s@]{1,128}\.\w{2,}"
    r"|\b(?:tel|phone|mobile?|fax|telefon|téléphone|teléfono|telefono|tlf|тел|mob|cell)\b ?[.:]"
    r"|\b(?:ltd|inc|gmbh|llc|s\.?a\.?r\.?l|b\.v|s\.p\.a|plc|corp)\b",
    re.IGNORECASE,
)
_MORE_TEXT: Final = re.compile(r"^\s*p\.? ?s\b|[?:]\s*$|```", re.IGNORECASE)


def _closing(lines: Sequence[str], end: int, first: int) -> int | None:
    """Return where a closing with an address or office below it begins."""
    below: list[str] = []
    for at in range(end - 1, first, -1):
        line = lines[at]
        if not line.strip():
            continue
        if len(line) <= _MOST_CHARS_OF_CLOSING and _CLOSING.fullmatch(line):
            if any(_CONTACT.search(one) for one in below) or _is_office(below):
                return at
            return None
        below.append(line)
        too_long = len(line) > _MOST_CHARS_OF_LINE or len(below) > _MOST_LINES
        if too_long or _MORE_TEXT.search(line):
            return None
    return None


def _is_office(below: Sequence[str]) -> bool:
    """Tell whether lines are a name with an office and a company, and no sentences."""
    return len(below) >= 3 and all(
        len(line.split()) <= 6 and not line.rstrip().endswith((".", "!", ",")) for line in below
    )
