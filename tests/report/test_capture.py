import itertools

from rich.cells import cell_len

from hearmeglm.report.capture import COLUMNS, _breaks, draw


def pieces(line: str) -> list[str]:
    cuts = [0, *_breaks(line), len(line)]
    return [line[a:b] for a, b in itertools.pairwise(cuts)]


def test_a_line_is_broken_at_words_and_never_before_a_closing_mark() -> None:
    chinese = "你现在是在想结束自己的生命吗" * 4 + "？" + "再多说一点"
    english = "one two three four five six " * 8
    assert pieces("short") == ["short"]
    for line in (chinese, english, "x" * 400):
        parts = pieces(line)
        assert "".join(parts) == line
        assert len(parts) > 1
        assert all(cell_len(p) <= COLUMNS for p in parts)
    assert all(p[0] not in "？，。" for p in pieces(chinese))
    assert all(p.endswith(" ") for p in pieces(english))


def test_lines_of_tables_and_bars_are_drawn_one_cell_wide() -> None:
    svg = draw("hearme run demo", "┏━━━┓\n┃ 词 ┃\n└───┘")
    assert not set(svg) & set("┏━┓┃└─┘")
    assert "词" in svg
