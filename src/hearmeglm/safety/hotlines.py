"""The hotline table: the only place that telephone numbers come from.

    get("CN")                                   rows of a region, in order of showing
    fill("请拨打{crisis_line}", "CN", "zh")      written texts name placeholders, never numbers
    numbers()                                   every number of the table, digits only
    stale(today)                                rows that nobody has checked for too long

The user chooses the region (it is never guessed from the language); rows live in `hotlines.yaml`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import UserError

Lang = Literal["zh", "en"]
TABLE = Path(__file__).with_name("hotlines.yaml")
PLACEHOLDERS = ("crisis_line", "emergency", "youth_line", "abuse_line")


@dataclass(frozen=True, slots=True)
class Hotline:
    """One row: who answers, when, in which languages, and where that was read and on which day."""

    region: str
    number: str
    serves: str
    zh: str
    en: str
    hours_zh: str
    hours_en: str
    languages: tuple[str, ...]
    channel: str
    source: str
    checked: dt.date

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "languages": list(self.languages), "checked": self.checked.isoformat()}

    def text(self, lang: Lang) -> str:
        """One line for the client, e.g. `12356（全国统一心理援助热线，每天不少于18小时）`."""
        return (
            f"{self.number}（{self.zh}，{self.hours_zh}）"
            if lang == "zh"
            else f"{self.number} ({self.en}, {self.hours_en})"
        )


@dataclass(frozen=True)
class Table:
    """The whole file."""

    rows: tuple[Hotline, ...]
    regions: dict[str, dict[str, str]]
    default_region: str
    max_age_days: int


@cache
def load(path: Path = TABLE) -> Table:
    """Read the table once.

    Raises:
        UserError: damaged, or a region without a crisis line or an emergency number.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = tuple(Hotline(**{**row, "languages": tuple(row["languages"])}) for row in tree["rows"])
        table = Table(rows, tree["regions"], tree["default_region"], int(tree["max_age_days"]))
        for region in table.regions:
            served = {r.serves for r in rows if r.region == region}
            if not {"crisis", "emergency"} <= served:
                raise ValueError(f"region {region} has no crisis line or no emergency number")
        if any(not isinstance(r.checked, dt.date) or not isinstance(r.number, str) for r in rows):
            raise ValueError("every row needs a number in quotes and a date in `checked`")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as err:
        raise UserError(
            f"expected the hotline table, found {err}", where=path.name, hint="reinstall hearmeglm or mend the file"
        ) from None
    return table


def regions() -> tuple[str, ...]:
    """Codes of the regions that have rows."""
    return tuple(load().regions)


def check_region(region: str) -> str:
    """The region's code in capitals.

    Raises:
        UserError: no such region in the table.
    """
    code = region.strip().upper()
    if code not in load().regions:
        raise UserError(
            f"expected a region of the hotline table, found {region!r}",
            where="region",
            hint=f"one of {', '.join(regions())}",
        )
    return code


def get(region: str, serves: Sequence[str] = ()) -> tuple[Hotline, ...]:
    """Rows of a region, in order of showing; only those that serve one of `serves` if given.

    Raises:
        UserError: no such region.
    """
    code = check_region(region)
    return tuple(r for r in load().rows if r.region == code and (not serves or r.serves in serves))


def fill(text: str, region: str, lang: Lang = "zh", *, young: bool = False) -> str:
    """Put a region's numbers in a written text: {crisis_line} {emergency} {youth_line} {abuse_line}.

    What stands in [brackets] is left out where the region has no line of the kind that it names; outside of them the crisis line takes
    its place. For the {youth_line} lines that protect children (`serves: child`) come first. For somebody `young` the youth line stands
    before the crisis line, unless the text names it anyway.

    Raises:
        UserError: no such region.
    """
    joint = "、" if lang == "zh" else " / "
    rows = get(region)
    crisis = [r for r in rows if r.serves == "crisis"]
    youth = [r for r in rows if r.serves == "youth"]
    lines = {
        "crisis_line": crisis,
        "youth_line": [r for r in rows if r.serves == "child"] + youth,
        "abuse_line": [r for r in rows if r.serves == "abuse"],
    }
    text = re.sub(r"\[([^\[\]]*\{(\w+)\}[^\[\]]*)\]", lambda m: m[1] if lines.get(m[2], True) else "", text)
    if young and youth and "{youth_line}" not in text:
        lines["crisis_line"] = [youth[0], *crisis]

    emergency = joint.join(
        f"{r.number}（{r.zh}）" if lang == "zh" else f"{r.number} ({r.en})" for r in rows if r.serves == "emergency"
    )
    values = {name: joint.join(r.text(lang) for r in (own or crisis)[:2]) for name, own in lines.items()}
    values["emergency"] = emergency
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), text)


def numbers(region: str | None = None) -> frozenset[str]:
    """Digits of every number in the table, or of one region's."""
    return frozenset(re.sub(r"\D", "", r.number) for r in (get(region) if region else load().rows))


def warning(region: str, lang: Lang) -> list[str]:
    """One line for the screen if rows of a region are stale, else none."""
    old = ", ".join(f"{r.number} ({r.checked})" for r in stale() if r.region == region)
    if not old:
        return []
    return [
        f"注意：这些热线号码很久没有核对过，可能已经变了：{old}。"
        if lang == "zh"
        else f"Note: these hotline numbers have not been checked for long and may have changed: {old}."
    ]


def stale(today: dt.date | None = None) -> tuple[Hotline, ...]:
    """Rows whose last check is more than `max_age_days` ago; they warn on screen and fail a test."""
    table = load()
    limit = (today or dt.date.today()) - dt.timedelta(days=table.max_age_days)
    return tuple(r for r in table.rows if r.checked < limit)
