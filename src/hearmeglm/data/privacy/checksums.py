"""Check digits of identity and bank cards."""

from __future__ import annotations


def luhn(digits: str) -> bool:
    """The check digit of bank cards (ISO/IEC 7812-1)."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def id_checksum(number: str) -> bool:
    """The check character of a mainland identity number of 18 characters (GB 11643, ISO 7064 MOD 11-2)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return (
        len(number) == 18
        and "10X98765432"[sum(int(d) * w for d, w in zip(number, weights, strict=False)) % 11] == number[-1]
    )


def hkid_checksum(number: str) -> bool:
    """The check character of a Hong Kong identity card, e.g. A1234563 (brackets removed)."""
    body, check = number[:-1], number[-1]
    padded = body.rjust(8)
    values = [36 if c == " " else ord(c) - 55 if c.isalpha() else int(c) for c in padded]
    rest = 11 - sum(v * w for v, w in zip(values, range(9, 1, -1), strict=True)) % 11
    return check == ("0" if rest == 11 else "A" if rest == 10 else str(rest))


def twid_checksum(number: str) -> bool:
    """The check digit of a Taiwan identity card, e.g. A123456789."""
    code = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0]) + 10
    digits = [code // 10, code % 10, *map(int, number[1:])]
    return sum(d * w for d, w in zip(digits, (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1), strict=True)) % 10 == 0
