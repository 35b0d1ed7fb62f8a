"""Signs around numbers in texts, such as ``$1.50``, ``12 %``, ``(5)`` and ``7 km``: what such texts are called.

The minus sign of Unicode (U+2212) is none of them: it has one reading, and is read as ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = r"(?:[0-9]{1,3}(?:[,.'’ \u00a0\u202f][0-9]{3})+|[0-9]+)(?:[.,][0-9]+)?|[.,][0-9]+"
_SIGN = "[-+\u2212]"
_DASH = "[\u2010-\u2015\ufe63\uff0d]"  # what word processors make of a minus
_CODES = "USD EUR GBP CHF JPY CNY INR AUD CAD NZD SEK NOK DKK PLN CZK HUF BRL RUB KRW MXN ZAR SGD HKD TRY ILS"
_CURRENCY = rf"(?:(?:US|C|A|R|HK|NZ)?\$|[€£¥₹₽₩₪₺฿]|{'|'.join(_CODES.split())}|kr\.?|zł|Fr\.|Rs\.?)"
_SIGNED = re.compile(
    rf"(?P<open>\()?(?:{_SIGN}|(?P<dash>{_DASH}))?(?P<gap> )?(?P<before>{_CURRENCY})? ?{_SIGN}?(?:{_NUMBER})"
    rf" ?(?:(?P<percent>[%‰])|(?P<after>{_CURRENCY}))?(?P<last>{_SIGN})?(?P<close>\))?"
)
_WITH_UNIT = re.compile(rf"{_SIGN}?(?:{_NUMBER}) ?(?P<unit>[^\W\d_][\w/°²³]{{0,5}}|[°'\"″′][CF]?)")


def described(texts: Sequence[str], share: float) -> str:
    """Return what numbers with signs are called, such as ``amounts of money``; "" if fewer than ``share`` are such."""
    if not any(_SIGNED.fullmatch(text) or _WITH_UNIT.fullmatch(text) for text in texts[:3]):  # most texts
        return ""
    fewest = share * len(texts)
    found = [
        match for text in texts if (match := _SIGNED.fullmatch(text)) and bool(match["open"]) == bool(match["close"])
    ]
    if len(found) >= fewest > 0:
        if any(match["before"] or match["after"] for match in found):
            return "amounts of money"
        if any(match["percent"] for match in found):
            return "percentages"
        if odd := next((match[0] for match in found if any(match.group("open", "dash", "gap", "last"))), None):
            return f"numbers with a sign as in '{odd}'"
    units = [match["unit"] for text in texts if (match := _WITH_UNIT.fullmatch(text))]
    if len(units) >= fewest > 0 and len(set(units)) == 1:
        return f"numbers with the unit {units[0]}"
    return ""
