"""The finished files: PDF, HTML, DOCX, cards, terminal pictures, command line."""

from __future__ import annotations

import json
import re
import zipfile

import pytest
import yaml

from hearmeglm.errors import UserError
from hearmeglm.report.build import write_report
from hearmeglm.report.capture import draw
from hearmeglm.report.cards import write_cards
from hearmeglm.report.fonts import find_families


@pytest.fixture(scope="module")
def has_fonts():
    try:
        return find_families()
    except UserError as err:
        pytest.skip(str(err))


def test_pdf_is_named_and_holds_both_languages(full_run, tmp_path, has_fonts) -> None:
    made = write_report(full_run, out=tmp_path, student_id="2024001", name="张三")
    assert made.path == tmp_path / "2024001-张三.pdf"
    assert made.path.read_bytes().startswith(b"%PDF-")
    assert made.languages == ("zh", "en")
    assert "tab:bench" in made.not_run
    assert [p.name for p in tmp_path.iterdir()] == [made.path.name]


def test_pdf_of_a_run_without_steps(empty_run, tmp_path, has_fonts) -> None:
    made = write_report(empty_run, out=tmp_path, lang="zh")
    assert made.path.name == "report.pdf"
    assert "tab:overlap" in made.not_run


def test_html_fetches_nothing_and_runs_no_script(full_run, tmp_path) -> None:
    page = write_report(full_run, out=tmp_path, form="html").path.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "<script" not in page
    assert "url(" not in page
    assert page.count("<article") == 2
    assert "🤗" in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_html_shows_hostile_text_as_text(full_run) -> None:
    from hearmeglm.report.blocks import Document, Para, Section
    from hearmeglm.report.build import LABELS
    from hearmeglm.report.html import write_html

    labels = dict.fromkeys(LABELS, "x")
    page = full_run.path / "hostile.html"
    write_html([Document("en", "<b>", "", (), (), "", (Section("a", "a", (Para("<img onerror=x>"),)),), labels)], page)
    text = page.read_text(encoding="utf-8")
    assert "&lt;img onerror" in text
    assert "<img" not in text


def test_docx_opens_and_has_one_font_family(full_run, tmp_path) -> None:
    path = write_report(full_run, out=tmp_path, form="docx", lang="en").path
    with zipfile.ZipFile(path) as inside:
        text = inside.read("word/document.xml").decode("utf-8")
    assert "Requirements and grading checklist" in text
    assert "🤗" in text
    fonts = set(re.findall(r'w:ascii="([^"]+)"', text))
    assert fonts <= {"Noto Sans CJK SC", "Noto Sans Mono CJK SC", "Segoe UI Emoji"}


def test_missing_font_is_one_line(monkeypatch) -> None:
    import hearmeglm.report.fonts as module

    monkeypatch.setattr(module, "CJK_FONTS", ())
    monkeypatch.delenv("HEARME_FONT", raising=False)
    with pytest.raises(UserError, match="Chinese characters") as fault:
        find_families()
    assert "\n" not in str(fault.value)


def test_cards_have_the_hubs_head_and_the_reports_numbers(full_run, tmp_path) -> None:
    model, data = write_cards(full_run, out=tmp_path)
    head = yaml.safe_load(model.read_text(encoding="utf-8").split("---")[1])
    assert head["language"] == ["zh", "en"]
    summary = json.loads((full_run.evals.path / "summary.json").read_text(encoding="utf-8"))
    metrics = {m["name"]: m["value"] for m in head["model-index"][0]["results"][0]["metrics"]}
    assert metrics["ROUGE-1"] == summary["models"]["stage2"]["rouge-1"]
    assert yaml.safe_load(data.read_text(encoding="utf-8").split("---")[1])["license"] == ["cc-by-4.0"]
    assert str(full_run.path.parent) not in model.read_text(encoding="utf-8")


def test_cards_of_a_run_without_steps_say_not_run(empty_run, tmp_path) -> None:
    model, data = write_cards(empty_run, out=tmp_path)
    assert "**未运行**" in model.read_text(encoding="utf-8")
    assert "**Not run**" in data.read_text(encoding="utf-8")
    with pytest.raises(UserError):
        write_cards(empty_run, kind="poem", out=tmp_path)


def test_terminal_picture_is_a_vector_without_web_fonts() -> None:
    svg = draw("hearme chat RUN", "\x1b[31m你好\x1b[0m\nprogress 1\rprogress 2")
    assert svg.startswith("<svg")
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "progress&#160;2" in svg
    assert "progress&#160;1" not in svg


def test_terminal_picture_gives_chinese_two_cells() -> None:
    widths = [float(x) for x in re.findall(r'textLength="([\d.]+)"[^>]*>(?:你好|abcd)</text>', draw("x", "你好\nabcd"))]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(widths[1])


def test_a_capture_never_trains(full_run, monkeypatch) -> None:
    from hearmeglm.report import capture

    ran = []
    monkeypatch.setattr(capture, "_output", lambda arguments, typed: ran.append(arguments[0]))
    assert list(capture.capture_terminal(full_run, "你好")) == []
    assert ran == ["doctor", "compare", "chat"]


def test_command_line(full_run, tmp_path, capsys) -> None:
    import typer

    from hearmeglm.cli.report import register

    app = typer.Typer()
    register(app)
    app(
        ["report", str(full_run.path), "--format", "html", "--lang", "en", "--out", str(tmp_path), "--json"],
        standalone_mode=False,
    )
    said = json.loads(capsys.readouterr().out)
    assert said["file"].endswith("report.html")
    assert "tab:bench" in said["not_run"]
    app(["card", str(full_run.path), "--kind", "model", "--out", str(tmp_path)], standalone_mode=False)
    assert (tmp_path / "model-card.md").is_file()
