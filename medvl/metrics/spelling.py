"""One spelling for what is only typed differently: \u00b5g, ug and mcg; 120 / 80 and 120/80; \u00bd and 1/2.

Expressions that state another value stay distinct: mcg and mg, mL and dL, 1,5 and 15, -5 and 5, IU and units.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_FRACTIONS = "\u00bc\u00bd\u00be\u2150-\u215e"
_SPACES = "\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def _compatible(character: str) -> str:
    return re.sub("[\u2044\u2215]", "/", unicodedata.normalize("NFKC", character))


_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys(_SPACES, " "),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63", "-"),
        **dict.fromkeys("\u00d7\u2715\u2716", "x"),
        **dict.fromkeys("\u00ba\u02da", "\u00b0"),
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
        **{chr(code): _compatible(chr(code)) for code in range(0x3380, 0x33E0)},  # units in one character
        "\u2113": "l",
        "\u00b5": "\u03bc",
        "\u2044": "/",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u2103": "\u00b0C",
        "\u2109": "\u00b0F",
    }
)
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "0123456789")
_SUBSCRIPTS = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
CURRENCIES = "RM|MYR|USD|EUR|GBP|SGD|AUD|CAD|NZD|HKD|INR|CHF|JPY|CNY|THB|IDR|PHP|Rs"
_TYPED: list[tuple[re.Pattern[str], Any]] = [
    (re.compile(r"(?<![\w.])\.(?=\d)"), "0."),
    (re.compile(r"(?<=\d)([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)"), lambda found: "^" + found[1]),
    (re.compile(rf"(?:(?<=\d) ?)?([{_FRACTIONS}])"), lambda found: _fraction(found)),
    (re.compile(r"(?<=\d)[^\S\n]*/[^\S\n]*(?=\d)"), "/"),
    (re.compile(r"(?<=\d)[^\S\n]*\u00b0[^\S\n]*(?=[CcFf]\b)"), " \u00b0"),
    (re.compile(r"(?<![-=<>])([<>]=?)[^\S\n]+(?=[-.]?\d)"), r"\1"),
    (re.compile(rf"(?<![^\W\d_])({CURRENCIES})\.?[^\S\n]*(?=\d)", re.IGNORECASE), r"\1 "),
    (re.compile(r"([$\u20ac\u00a3\u00a5\u20b9])[^\S\n]+(?=\d)"), r"\1"),
    (re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])"), lambda found: found[0].replace(",", "")),
    (re.compile(r"[^\S\n]+"), " "),
]

# The units of values in the spelling of `spelled`. M and F stand for a sex more often than for metres and Fahrenheit.
UNITS = (
    r"%|kg|mcg|mg|ng|pg|g|mcl|ml|dl|cl|fl|pl|nl|l|cc|mcmol|mmol|nmol|pmol|fmol|mol|meq|mosm|osm"
    r"|mciu|miu|kiu|iu|mcu|mu|ku|million units|units|mcm|cm|mm|nm|mmhg|cmh2o|kpa|hpa|mpa|mbar|torr|bpm|hz|khz|mhz|h"
    r"|\u00b0c|\u00b0f|ms|kcal|kj|cgy|mgy|gy|msv|kbq|mbq|gbq|mci|kvp|kv|mv|mas|cells|copies|x10\^\d{1,2}"
    r"|megabq|megahz|megav|megagy|megasv|megapa|megaiu"
)
_DEGREES = {
    "\u00b0c": r"(?:\u00b0|deg(?:rees?)?) ?c(?:elsius)?",
    "\u00b0f": r"(?:\u00b0|deg(?:rees?)?) ?f(?:ahrenheit)?",
}
# Words of a running text; the unit of a table's column need not follow its number.
_WORDS = {
    "mcg": "micrograms?|mcgs",
    "mg": "milligrams?|mgs",
    "ng": "nanograms?",
    "kg": "kilograms?|kgs|kilos?",
    "g": "grams?|gms?",
    "ml": "millilit(?:er|re)s?|mls",
    "dl": "decilit(?:er|re)s?",
    "l": "lit(?:er|re)s?",
    "iu": r"international units?|i\.u\.",
    "units": "u|units?",
    "min": "mins?|minutes?",
    "s": "s|secs?|seconds?",
    "days": "days?",
    "weeks": "wks?|weeks?",
    "months": "mos?|months?",
    "years": "yrs?|years?",
}
_PER = {"h": "hrs?|hours?", "min": "mins?|minutes?", "day": "d|days?", "week": "wks?|weeks?"}
_DIVISORS = {**_PER, **{unit: _WORDS[unit] for unit in ("mcg", "mg", "ng", "kg", "g", "ml", "dl", "l")}}
_WRITTEN = "|".join(_WORDS.values())
_PART = rf"(?:\d+(?:\.\d+)? ?)?(?:{UNITS}|{_WRITTEN}|{'|'.join(_PER.values())}|doses?|m\^?2|mm\^?3)(?!\w)"
_RATE = rf"(?<=\d)(?: ?(?:{UNITS}|{_WRITTEN})(?!\w))?(?:(?: per |/){_PART})+"  # 5 mg per kg per day, 12 per minute
_SPACED = "hrs?|hours?|mins?|minutes?|days?|wks?|weeks?"  # divisors that may stand apart from their slash
_POWER = r"10(?:\^|\*{1,2}|e)\(?(\d{1,2})\)?(?!\d)"
_UNIT_RULES: list[tuple[re.Pattern[str], Any]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bper ?cent\b", "%"),
        (r"(?:\u03bc|\bu|(?<=\d)u|\bmc|(?<=\d)mc)(g|l|mol|iu|u|m)\b", r"mc\1"),
        (r"\bmm hg\b", "mmhg"),
        (r"\bcm ?h ?2 ?o\b", "cmh2o"),
        (r"\bbeats?(?:/| per )min(?:ute)?\b", "bpm"),
        (rf"(?<=\d)(?: ?x ?| ){_POWER}", r" x10^\1"),
        (rf"(?<![\w^.]){_POWER}(?=/)|\bx {_POWER}", lambda found: f"x10^{found[1] or found[2]}"),
        (r"(?<![a-z])([cm]?m)\^([23])(?!\d)", r"\1\2"),
        (r"(?<![\w.])(\d+(?:\.\d+)?) ?([cm]?m[23])(?!\w)", r"\1 \2"),
        (rf"(?<=[a-z%\d]) ?/ ?(?=(?:{UNITS}|{_SPACED}|(?:1\.73 ?)?m2|mm3)(?!\w))", "/"),
        (_RATE, lambda found: found[0].replace(" per ", "/")),
        *((rf"(?<=/)(?:{words})\b", unit) for unit, words in _DIVISORS.items()),
        *((rf"(?<=\d)( ?)(?:{words})(?!\w)", rf"\1{unit}") for unit, words in _DEGREES.items()),
    )
]
_WORD_RULES = [(re.compile(rf"(?<=\d)( ?)(?:{words})(?!\w)"), rf"\1{unit}") for unit, words in _WORDS.items()]

# Not MV 7.2, the minute volume, nor MIU/mL in a line of capitals.
_MEGA = re.compile(r"(?<=\d)([ |]*)M(B[Qq]|H[Zz]|Gy|Sv|Pa|V(?!\s*[:=|]?\s*\d)|IU(?! ?/))(?!\w)")

_ATOM = (
    r"%|\u2030|percent\b|(?:mc|[kmnpu\u00b5\u03bc])?g\b|MG\b|MCG\b|KG\b|(?:mc|[mdcnpfu\u00b5\u03bc])?[Ll]\b|ML\b|cc\b"
    r"|(?:mc|[mnpfu\u00b5\u03bc])?(?:mol|[Ee]q|[Oo]sm)\b|(?:mc|[mkMu\u00b5\u03bc])?(?:IU|U)\b|[Uu]nits?\b|UNITS?\b"
    r"|mm ?[Hh][Gg]\b|cm ?H[2\u2082]O\b|[khmM]Pa\b|mbar\b|[Tt]orr\b|bpm\b|BPM\b|[kmM]?Hz\b|MHZ\b"
    r"|(?:mc|[cmknu\u00b5\u03bc])?m\b|[cm]?m(?:\^?[23]\b|[\u00b2\u00b3])|[\u3380-\u33df\u2113]"
    r"|[\u00b0\u00ba\u02da]\s?[CFcf]\b|\u2103|\u2109|(?<=\.\d)\s?[CF]\b|k?cal\b|kJ\b|[mcM]?Gy\b|[mM]?Sv\b"
    r"|[MGkm]?Bq\b|MBQ\b|m?Ci\b"
    r"|kVp?\b|mAs?\b|mV\b|MV\b(?!\s*[:=|]?\s*\d)"
    r"|(?:[x\u00d7]\s?)?10(?:[\u00b3\u2076\u2079]|\u00b9\u00b2|(?:\^|\*{1,2}|[eE])\(?\d{1,2}\)?)"
    r"|cells?\b|copies\b|[KM](?=/)|ms\b|s\b|secs?\b|seconds?\b|mins?\b|minutes?\b|hrs?\b|hours?\b|h\b|days?\b"
    r"|wks?\b|weeks?\b|mos?\b|months?\b|yrs?\b|years?\b"
)
_DIVISOR = (
    r"(?:mc|[mdu\u00b5\u03bc])?[Ll]|k?g|mg|(?:1\.73 ?)?[cm]?m(?:\^?[23]|[\u00b2\u00b3])|hrs?|hours?|h|min|sec|s|days?|d"
    r"|weeks?|wk|[HhLl][Pp][Ff]|m?mol|dose"
)
_DIVISOR_IN_WORDS = (
    rf"(?:\d+[^\S\n]?)?(?:{_DIVISOR}|kilograms?|grams?|(?:milli|deci)?lit(?:er|re)s?|minutes?|seconds?|units?)"
    r"(?![\w\u00b2])"
)
# What may follow a number as its unit, as it is printed: mg, \u00b5g/kg/min, x10\u00b3/\u00b5L; beats: /min.
PRINTED_UNIT = (
    rf"(?:[^\S\n]?(?:{_ATOM}))?"
    rf"(?:[^\S\n]?/[^\S\n]?(?:{_DIVISOR}|[\u3380-\u33df\u2113])(?![\w\u00b2\u00b3])|[^\S\n]per[^\S\n]{_DIVISOR_IN_WORDS})*"
)
CURRENCY = rf"(?:\b(?:{CURRENCIES})\.?|[$\u20ac\u00a3\u00a5\u20b9])[^\S\n]?"
FRACTIONS = _FRACTIONS


def typed(text: str) -> str:
    """Return a text with one character for each that looks or means the same; case and line breaks are kept.

    >>> typed("120 / 80, 98.6\u00b0F, 1\u00bd tab, RM42.50, \u2264 5, Crohn\u2019s")
    "120/80, 98.6 \u00b0F, 1 1/2 tab, RM 42.50, <=5, Crohn's"
    """
    text = unicodedata.normalize("NFC", text).translate(_CHARACTERS)
    for pattern, replacement in _TYPED:
        text = pattern.sub(replacement, text)
    return text.translate(_SUPERSCRIPTS).translate(_SUBSCRIPTS)


def _fraction(found: re.Match[str]) -> str:
    written = _compatible(found[1])
    return f" {written}" if found.start() and found.string[found.start() - 1].isdigit() else written


def spelled(text: str, *, words: bool = False) -> str:
    """Return a text in lower case, with one character and one unit for each that means the same.

    Args:
        words: Merge units that are written out, too: grams, minutes.

    >>> spelled("5 \u00b5g/kg/min"), spelled("WBC 7.2 x10\u00b3/\u03bcL"), spelled("HR 80, 3 hrs")
    ('5 mcg/kg/min', 'wbc 7.2 x10^3/mcl', 'hr 80, 3 h')
    """
    text = typed(text)
    # In capitals, MU are a million units and mU a thousandth, MBq is not mBq, and HR is the heart rate, even after a
    # number.
    text = re.sub(r"(?<=\d) ?MU\b", " million units", text)
    text = _MEGA.sub(lambda found: f"{found[1] or ' '}mega{found[2]}", text)
    text = re.sub(r"(?<=\d) ?(?:[Hh]ours?|[Hh]rs?)\b", " h", text)
    text = text.casefold()
    for pattern, replacement in [*_UNIT_RULES, *(_WORD_RULES if words else ())]:
        text = pattern.sub(replacement, text)
    return text
