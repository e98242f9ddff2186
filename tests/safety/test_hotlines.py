import datetime as dt
import re

import pytest

from hearmeglm.errors import UserError
from hearmeglm.safety import hotlines
from hearmeglm.safety.replies import reply


def test_every_region_of_the_field_notes_has_its_numbers() -> None:
    want = {
        "CN": {"12356", "110", "120"},
        "HK": {"18111", "28960000", "23892222", "999"},
        "TW": {"1925", "1995", "110", "119"},
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


def test_what_names_a_line_that_a_region_lacks_is_left_out() -> None:
    text = "Call {crisis_line}[; {youth_line} is there for young people]."
    assert hotlines.fill(text, "IE", "en") == "Call 116 123 (Samaritans Ireland, 24 hours)."
    assert "Childline" in hotlines.fill(text, "GB", "en")
    for region in hotlines.regions():
        for kind in ("abuse", "minor"):
            for lang in ("zh", "en"):
                for young in (False, True):
                    shown = re.findall(r"\d[\d -]{2,}\d", reply(kind, region, lang, young=young))
                    assert len(shown) == len(set(shown)), (region, kind, lang, shown)


def test_a_child_protection_line_is_for_children_in_danger_and_not_before_the_crisis_line() -> None:
    assert "1-800-422-4453" in reply("minor", "US", "en", young=True)
    assert "1-800-422-4453" not in reply("suicide", "US", "en", young=True)


def test_stale_rows_of_the_region_are_said_on_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hotlines.warning("CN", "zh") == []
    monkeypatch.setattr(hotlines, "stale", lambda: hotlines.get("CN", ("crisis",)))
    assert "12356" in hotlines.warning("CN", "zh")[0]
    assert "12356" in hotlines.warning("CN", "en")[0]
    assert hotlines.warning("US", "en") == []


def test_unknown_region_says_which_there_are() -> None:
    with pytest.raises(UserError, match="CN"):
        hotlines.get("XX")


def test_a_damaged_table_is_one_line(tmp_path) -> None:
    file = tmp_path / "hotlines.yaml"
    file.write_text("rows: [{region: CN}]", encoding="utf-8")
    with pytest.raises(UserError, match="hotline table"):
        hotlines.load(file)
