import datetime as dt
import re

import pytest

from hearmeglm.errors import UserError
from hearmeglm.safety import hotlines


def test_every_region_of_the_field_notes_has_its_numbers() -> None:
    want = {
        "CN": {"12356", "110", "120"},
        "HK": {"18111", "28960000", "23892222", "999"},
        "TW": {"1925", "1995"},
        "US": {"988", "911"},
        "CA": {"988", "911"},
        "GB": {"116123", "999"},
        "IE": {"116123", "999"},
    }
    for region, digits in want.items():
        assert digits <= hotlines.numbers(region)


def test_12356_is_never_called_24_hours() -> None:
    row = next(r for r in hotlines.get("CN") if r.number == "12356")
    assert "24" not in row.hours_zh + row.hours_en


def test_rows_name_their_source_and_are_not_stale() -> None:
    assert all(r.source and r.languages for r in hotlines.load().rows)
    assert hotlines.stale() == (), "check these rows against their sources and set `checked`"


def test_a_row_goes_stale_after_the_set_time() -> None:
    table = hotlines.load()
    newest = max(r.checked for r in table.rows)
    assert len(hotlines.stale(newest + dt.timedelta(days=table.max_age_days + 1))) == len(table.rows)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("region", hotlines.regions())
def test_every_placeholder_is_filled_in_every_region(region: str, lang: hotlines.Lang) -> None:
    text = hotlines.fill(" ".join(f"{{{p}}}" for p in hotlines.PLACEHOLDERS), region, lang)
    assert "{" not in text
    assert len(re.findall(r"\d[\d ]+\d", text)) >= len(hotlines.PLACEHOLDERS)


def test_unknown_region_says_which_there_are() -> None:
    with pytest.raises(UserError, match="CN"):
        hotlines.get("XX")


def test_a_damaged_table_is_one_line(tmp_path) -> None:
    file = tmp_path / "hotlines.yaml"
    file.write_text("rows: [{region: CN}]", encoding="utf-8")
    with pytest.raises(UserError, match="hotline table"):
        hotlines.load(file)
