"""What stands in the report: every section, figure and table, the same numbers in both languages, 'not run' where it was not."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from hearmeglm.errors import DataError, UserError
from hearmeglm.report.blocks import Chat, Checklist, Code, Figure, NotRun, Table, texts
from hearmeglm.report.build import document, file_name, write_report
from hearmeglm.report.collect import collect
from hearmeglm.report.original import FIGURES, TABLES
from hearmeglm.report.sections import ORDER
from hearmeglm.report.sections.evaluation import shortened
from hearmeglm.report.words import Words, number, table

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
SECTIONS = [
    "direction", "needs", "innovation", "sources", "samples", "conversion", "cleaning", "split", "base", "setup", "training", "method", "results",
    "judge", "persona", "dialogues", "deployment", "safety", "limits", "licences", "log", "reproduce", "references", "checklist",
]  # fmt: skip
ORIGINAL = sorted({k for _, keys in (*FIGURES, *TABLES) for k in keys})


@pytest.fixture(scope="module")
def both(full_run):
    d = collect(full_run)
    return {lang: document(d, lang, bilingual=True) for lang in ("zh", "en")}


@pytest.fixture(scope="module")
def nothing(empty_run):
    d = collect(empty_run)
    return {lang: document(d, lang, bilingual=True) for lang in ("zh", "en")}


def keys(doc):
    return {b.key: b for b in doc.blocks() if getattr(b, "key", "")}


@pytest.mark.parametrize("which", ["both", "nothing"])
def test_every_section_is_there_in_both_languages(which, request) -> None:
    docs = request.getfixturevalue(which)
    for doc in docs.values():
        assert [s.key for s in doc.sections] == SECTIONS
        assert all(s.blocks for s in doc.sections)
    assert len(ORDER) == len(SECTIONS) - 1


@pytest.mark.parametrize("which", ["both", "nothing"])
def test_same_numbers_in_both_languages(which, request) -> None:
    docs = request.getfixturevalue(which)
    for zh, en in zip(docs["zh"].sections, docs["en"].sections, strict=True):
        a, b = (Counter(NUMBER.findall(" ".join(texts(s.blocks)))) for s in (zh, en))
        assert a == b, f"{zh.key}: only zh {a - b}, only en {b - a}"
    assert [v for _, v, _ in docs["zh"].facts] == [v for _, v, _ in docs["en"].facts]


def test_same_blocks_in_both_languages(both) -> None:
    shapes = [[(type(b).__name__, getattr(b, "key", "")) for b in doc.blocks()] for doc in both.values()]
    assert shapes[0] == shapes[1]


def test_words_hold_the_same_numbers_and_places_in_both_languages() -> None:
    for key, pair in table().items():
        places = [sorted(re.findall(r"\{\w+\}", pair[lang])) for lang in ("zh", "en")]
        assert places[0] == places[1], key
        counts = [Counter(NUMBER.findall(pair[lang])) for lang in ("zh", "en")]
        assert counts[0] == counts[1], key
        assert pair["zh"], key


@pytest.mark.parametrize("key", ORIGINAL)
def test_every_figure_and_table_of_the_original_is_present_or_marked(key, both, nothing) -> None:
    for doc in (*both.values(), *nothing.values()):
        assert isinstance(keys(doc)[key], Table | Figure | Chat | Code | NotRun)
    if key != "fig:emoji-data":  # sixteen of sixty emoji dialogues: the small split may hold none
        assert not isinstance(keys(both["zh"])[key], NotRun), key


def test_without_any_step_everything_measured_is_not_run(nothing) -> None:
    found = keys(nothing["zh"])
    for key in (
        "tab:sources",
        "fig:loss-1",
        "fig:loss-2",
        "tab:training",
        "tab:overlap",
        "tab:judge",
        "tab:persona",
        "tab:bench",
        "fig:studio-training",
    ):
        assert isinstance(found[key], NotRun), key
    unmet = [c for b in nothing["zh"].blocks() if isinstance(b, Checklist) for c in b.rows if not c.met]
    assert len(unmet) >= 10  # fmt: skip


def test_numbers_are_those_of_the_files(full_run, both) -> None:
    from hearmeglm.files import read_json

    summary = read_json(full_run.evals.path / "summary.json")
    rows = {r[0]: r[1:] for r in keys(both["en"])["tab:overlap"].rows}
    for i, model in enumerate(summary["models"].values()):
        assert rows["held-out loss (nats/token)"][i] == f"{model['loss']:.4f}"
        assert rows["replies n"][i] == str(model["n"])
    every = {r[0]: r[1:] for r in keys(both["zh"])["tab:overlap-every"].rows}
    for i, model in enumerate(summary["every"]["models"].values()):
        assert every["回复数 n"][i] == str(model["n"])
    assert "用时（秒）" not in every
    result = read_json(full_run.path / "stage1" / "result.json")
    training = {r[0]: r[1] for r in keys(both["en"])["tab:training"].rows}
    assert training["train loss"] == f"{result['train_loss']:.4f}"
    stats = read_json(full_run.data.path / "stats.json")
    assert keys(both["en"])["tab:split"].rows[0][1] == number(stats["splits"]["train"]["dialogues"])


def test_differences_carry_intervals_n_and_seed(both) -> None:
    delta = keys(both["en"])["tab:delta"]
    assert all(re.fullmatch(r"\[[+-][\d.]+, [+-][\d.]+\]", row[5]) for row in delta.rows)
    assert "4 prompts" in delta.source
    assert "seed 42" in delta.source


def test_unscored_verdicts_are_counted(both) -> None:
    rows = keys(both["en"])["tab:judge"].rows
    assert {r[5] for r in rows if r[0] == "untuned base"} == {"2"}


def test_checklist_names_what_is_unmet(full_run) -> None:
    d = collect(full_run)
    rows = next(b for b in document(d, "en", bilingual=False).blocks() if isinstance(b, Checklist)).rows
    unmet = {c.item: c.note for c in rows if not c.met}
    assert "Both languages" in unmet
    assert "Student ID" in next(note for item, note in unmet.items() if item.startswith("Cover"))
    met = {c.item for c in rows if c.met}
    assert {"A split, with reasons", "Before and after", "Captures (set-up, training, evaluation, inference)"} <= met


def test_own_texts_replace_the_packaged_ones(full_run) -> None:
    from hearmeglm.sections import Text

    d = collect(full_run)
    written = d.recipe.report.model_copy(
        update={"direction": Text(zh="为什么", en="Why"), "reasons": {"rank": Text(zh="小", en="small")}}
    )
    d = replace(d, recipe=d.recipe.model_copy(update={"report": written}))
    doc = document(d, "en", bilingual=True)
    assert doc.sections[0].blocks[0].text == "Why"
    assert next(r for r in keys(doc)["tab:setup"].rows if r[0] == "rank r")[-1] == "small"


def test_no_path_of_this_machine(full_run, both) -> None:
    said = " ".join(t for doc in both.values() for t in texts(list(doc.blocks())))
    said += " ".join(b.text for b in both["en"].blocks() if isinstance(b, Code))
    assert str(full_run.path.parent) not in said


def test_file_name(full_run) -> None:
    d = collect(full_run)
    owner = replace(d.owner, student_id="2024001", name="张三")
    assert file_name(replace(d, owner=owner), "pdf") == "2024001-张三.pdf"
    assert file_name(d, "pdf") == "report.pdf"
    with pytest.raises(UserError, match="file name"):
        file_name(replace(d, owner=replace(owner, name="../x")), "pdf")


def test_wrong_words_are_refused(full_run, tmp_path) -> None:
    with pytest.raises(UserError, match="zh, en or both"):
        write_report(full_run, lang="fr", out=tmp_path)
    with pytest.raises(UserError, match="html, pdf or docx"):
        write_report(full_run, form="odt", out=tmp_path)


def test_a_broken_file_is_named(tmp_path) -> None:
    from hearmeglm.recipe_file import load_recipe
    from hearmeglm.run import RunDir

    run = RunDir.create(tmp_path / "run", load_recipe("demo"))
    run.evals.path.mkdir()
    (run.evals.path / "summary.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="models") as fault:
        collect(run)
    assert "summary.json" in str(fault.value)


def test_unknown_words_fall_back() -> None:
    assert Words("zh").known("model.mine", "mine") == "mine"


@pytest.mark.parametrize(("lang", "told"), [("zh", "后面还有 1,640 字"), ("en", "1,640 more characters")])
def test_an_endless_reply_is_shortened_and_says_by_how_much(lang, told) -> None:
    w = Words(lang)
    assert shortened("好" * 360, w) == "好" * 360
    assert shortened("一行\n\n二行", w) == "一行\n\n二行"
    cut = shortened("好" * 2000, w)
    assert cut.startswith("好" * 360 + "…")
    assert told in cut
    assert shortened("a\n\n" * 400, w).count("\n") == 15
