from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hearmeglm.chat.text import StopFilter

STOPS = ["来访者：", "\n\n", "<end>"]


@given(st.lists(st.text(alphabet="来访者：\n<end>x", max_size=5), max_size=8))
def test_streamed_in_any_pieces_the_shown_text_ends_before_the_first_stop(pieces: list[str]) -> None:
    whole = "".join(pieces)
    stop = StopFilter(STOPS)
    shown = "".join(map(stop.push, pieces)) + stop.flush()
    cut = min((at for s in STOPS if (at := whole.find(s)) >= 0), default=len(whole))
    assert shown == whole[:cut]
    assert stop.hit == (cut < len(whole))


def test_nothing_is_held_back_without_need() -> None:
    stop = StopFilter(["来访者："])
    assert stop.push("你好来") == "你好"
    assert stop.push("吧") == "来吧"
