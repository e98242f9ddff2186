import re

import pytest
import yaml

from hearmeglm.safety.guard import RULES
from hearmeglm.safety.measure import building, corpus
from hearmeglm.safety.prefilter import Scanner, alternatives, required


def test_a_pattern_is_cut_at_its_outer_bars() -> None:
    assert alternatives(r"a(?:b|c)d|[|)]e|f\|g|[]|]h|[^]|]") == [r"a(?:b|c)d", "[|)]e", r"f\|g", "[]|]h", "[^]|]"]


def test_what_a_pattern_needs() -> None:
    assert required("(?:想|要)[^，。]{0,6}死") == (frozenset("死"), frozenset("想要"))
    assert required("suicid(?:e|al)?") == (frozenset({"cid"}), frozenset({"sui"}))
    assert required("(?:好)?.*") == ()


def test_scan_names_what_may_match() -> None:
    scanner = Scanner({"one": "(?:想|要)[^，。]{0,6}(?:死|自杀)|割腕", "two": "笑死", "always": ".?"})
    assert list(scanner.scan("今天天气不错")) == ["always"]
    assert [p.pattern for p in scanner.scan("我要割腕")["one"]] == ["割腕"]


@pytest.mark.parametrize("code", ["zh", "en"])
def test_the_filter_changes_no_result(code: str) -> None:
    tree = yaml.load((RULES / f"{code}.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    rows = {r["id"]: "|".join(r["any"]) for r in tree["rules"]} | {"mask": "|".join(tree["mask"]), **tree["frames"]}
    rows = {k: re.sub(r"<([A-Z]+)>", lambda m: tree["vars"][m[1]], p) for k, p in rows.items()}
    scanner = Scanner(rows)
    tried = {name: re.compile(pattern) for name, pattern in rows.items()}
    for e in [e for e in corpus() if e.lang == code and building(e)][::9]:
        text = "，".join(e.turns).lower()
        may = scanner.scan(text)
        for name, pattern in tried.items():
            assert any(p.search(text) for p in may.get(name, ())) == bool(pattern.search(text)), (name, text)
