"""Text in the charsets of the world, said rightly, wrongly, or not at all."""

from __future__ import annotations

import base64
import quopri

from .build import Mail, envelope, message, multipart, part, within

_GERMAN = "Grüße aus Zürich: die Größe der Übergänge wäre für übermäßig große Räume zu klein."
_FRENCH = "Très bien reçu, l'été dernier à l'hôtel; où êtes-vous? Ça coûte 20 €."
_RUSSIAN = "Добрый день! Пришлите, пожалуйста, счёт за март и договор поставки."
_JAPANESE = "お世話になっております。見積書を送ってください。よろしくお願いします。"
_CHINESE = "您好，请把三月份的报价单发给我，谢谢。我们需要一百台水泵。"
_TAIWAN = "您好，請把三月份的報價單寄給我，謝謝。我們需要一百台水泵。"
_KOREAN = "안녕하세요. 견적서를 보내 주시기 바랍니다. 감사합니다."
_GREEK = "Καλημέρα σας, παρακαλώ στείλτε μου την προσφορά για τις αντλίες."
_HEBREW = "שלום, אנא שלחו לי את הצעת המחיר למשאבות."
_ARABIC = "مرحبا، أرجو إرسال عرض الأسعار للمضخات في أقرب وقت."
_THAI = "สวัสดีครับ กรุณาส่งใบเสนอราคาปั๊มน้ำให้ผมด้วย"
_POLISH = "Dzień dobry, proszę o wysłanie oferty na pompy: łódź, żółć, źdźbło."
_TURKISH = "İyi günler, lütfen pompalar için teklifinizi gönderin: ığdır, şişli."
_EMOJI = "Thanks 👍🏽 – see you “tomorrow” … 🎉"

_SAID = [
    ("utf-8", "utf-8", _GERMAN),
    ("UTF8", "utf-8", _RUSSIAN),
    ('"utf-8"', "utf-8", _EMOJI),
    ("iso-8859-1", "iso-8859-1", _GERMAN),
    ("ISO-8859-15", "iso-8859-15", _FRENCH),
    ("iso-8859-1", "cp1252", _FRENCH),  # which has no euro sign, and is what it is called
    ("windows-1252", "cp1252", _FRENCH),
    ("iso-8859-2", "iso-8859-2", _POLISH),
    ("windows-1250", "cp1250", _POLISH),
    ("koi8-r", "koi8-r", _RUSSIAN),
    ("windows-1251", "cp1251", _RUSSIAN),
    ("iso-8859-5", "iso-8859-5", _RUSSIAN),
    ("iso-2022-jp", "iso-2022-jp", _JAPANESE),
    ("shift_jis", "cp932", _JAPANESE),
    ("x-sjis", "cp932", _JAPANESE),
    ("euc-jp", "euc-jp", _JAPANESE),
    ("gb2312", "gbk", _CHINESE),
    ("GB18030", "gb18030", _CHINESE),
    ("big5", "big5", _TAIWAN),
    ("euc-kr", "euc-kr", _KOREAN),
    ("ks_c_5601-1987", "cp949", _KOREAN),
    ("iso-8859-7", "iso-8859-7", _GREEK),
    ("windows-1253", "cp1253", _GREEK),
    ("iso-8859-8-i", "iso-8859-8", _HEBREW),
    ("windows-1255", "cp1255", _HEBREW),
    ("windows-1256", "cp1256", _ARABIC),
    ("tis-620", "cp874", _THAI),
    ("iso-8859-9", "iso-8859-9", _TURKISH),
    ("utf-16", "utf-16", _GERMAN),
    ("utf-7", "utf-7", _GERMAN),
    # said wrongly
    ("us-ascii", "utf-8", _RUSSIAN),
    ("iso-8859-1", "utf-8", _GERMAN),
    ("utf-8", "cp1252", _GERMAN),
    ("x-unknown", "utf-8", _JAPANESE),
    ("x-user-defined", "cp1252", _GERMAN),
    ("base64", "utf-8", _GREEK),  # a codec of Python that is no charset
    ("idna", "utf-8", _KOREAN),
    ("", "utf-8", _ARABIC),
]


def charsets() -> list[Mail]:
    mails = []
    for number, (said, codec, text) in enumerate(_SAID):
        encoding = ("8bit", "base64", "quoted-printable")[number % 3]
        if codec.startswith("utf-16"):
            encoding = "base64"
        data = text.encode(codec, "replace")
        body = {"8bit": data, "base64": base64.encodebytes(data), "quoted-printable": quopri.encodestring(data)}
        kind = f"text/plain; charset={said}" if said else "text/plain"
        fields = envelope(
            f"charset.{number:03d}.text@kunde.example", subject=f"Charset {number}", hours=700 + number
        )
        more = [("Content-Type", kind), ("Content-Transfer-Encoding", encoding)]
        raw = message([*fields, *more], b"", eol="\n") + body[encoding]
        mails.append(Mail(f"charset-{number}-{said or 'none'}-{codec}", raw, says=(text,), files=()))
    return [*mails, *_fields(), *_others()]


def _word(text: str, charset: str, kind: str = "B") -> str:
    data = text.encode(charset)
    if kind == "B":
        return f"=?{charset}?B?{base64.b64encode(data).decode()}?="
    return f"=?{charset}?Q?{''.join(f'={byte:02X}' for byte in data)}?="


def _fields() -> list[Mail]:
    """Subjects and names."""
    japanese = "見積書の件".encode()
    halves = [f"=?UTF-8?B?{base64.b64encode(half).decode()}?=" for half in (japanese[:7], japanese[7:])]
    subjects: list[tuple[str, str | bytes, str]] = [
        ("encoded-b", _word("Grüße", "utf-8"), "Grüße"),
        ("encoded-q", "=?iso-8859-1?Q?Gr=FC=DFe_aus_Z=FCrich?=", "Grüße aus Zürich"),
        ("split-in-a-character", " ".join(halves), "見積書の件"),
        ("two-charsets", f"{_word('Grüße', 'iso-8859-1', 'Q')} {_word('привет', 'koi8-r')}", "Grüßeпривет"),
        ("word-within-text", f"Re: {_word('Größe', 'utf-8')} of pumps", "Re: Größe of pumps"),
        ("no-padding", "=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        ("blanks-within", "=?utf-8?Q?Hello there=21?=", "Hello there!"),
        ("language", "=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("unknown-charset", "=?x-unknown?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("raw-utf8", "Grüße, 見積書".encode(), "Grüße, 見積書"),
        ("raw-latin1", "Re: Grüße aus Zürich".encode("latin-1"), "Re: Grüße aus Zürich"),
        ("folded", "a long subject\n that goes on\n\tand on", "a long subject that goes on and on"),
        ("not-encoded", "=?utf-8?Q?broken", "=?utf-8?Q?broken"),
        ("nul", b"with\0 nul", "with nul"),
        ("empty", "", ""),
    ]
    return [
        Mail(
            f"subject-{name}",
            message(envelope(f"subject.{name}@kunde.example", subject=value, hours=760), "text"),
            subject=expected,
            says=("text",),
        )
        for name, value, expected in subjects
    ]


def _others() -> list[Mail]:
    text = "A long line that was broke softly, \nand went on with. \nNext.\nNew paragraph.\n> quoted \n> text\n"
    html = (
        "<html><head><meta charset='windows-1251'><style>p{color:red}</style></head><body><p>{}</p></body></html>"
    )
    flowed = message([*envelope("flowed.0001@kunde.example"), ("Content-Type", "text/plain; format=flowed")], text)
    delsp = message(
        [
            *envelope("flowed.0002@kunde.example"),
            ("Content-Type", "text/plain; format=flowed; delsp=yes"),
        ],
        "見積 \n書の件\n",
    )
    meta = message(
        [*envelope("meta.charset.1@kunde.example"), ("Content-Type", "text/html")],
        html.replace("{}", _RUSSIAN).encode("cp1251"),
    )
    mixed = within(
        envelope("mixed.charsets@kunde.example"),
        multipart(
            "mixed",
            part("text/plain; charset=koi8-r", _RUSSIAN.encode("koi8-r"), encoding="8bit"),
            part("text/plain; charset=iso-2022-jp", _JAPANESE.encode("iso-2022-jp"), encoding="7bit"),
        ),
    )
    garbage = message(
        [*envelope("garbage.0001@kunde.example"), ("Content-Type", "text/plain; charset=utf-8")],
        b"begin " + bytes(range(128, 256)) + b" end",
    )
    controls = message(envelope("controls.001@kunde.example"), b"a\0b\x07c\x1bd\x7fe\ttab")
    return [
        Mail("flowed", flowed, says=("broke softly, and went on with. Next.", "\nNew paragraph.\n> quoted text")),
        Mail("flowed-delsp", delsp, says=("見積書の件",)),
        Mail("html-meta-charset", meta, says=(_RUSSIAN,), never=("color:red", "<p>")),
        Mail("two-charsets", mixed, says=(_RUSSIAN, _JAPANESE)),
        Mail("bytes-of-no-charset", garbage, says=("begin ", " end")),
        Mail("control-characters", controls, says=("abcde\ttab",)),
    ]
