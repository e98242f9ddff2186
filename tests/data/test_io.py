"""Exports, fetch, licences, contamination, audit, card, persona: small but whole."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hearmeglm.data import card, export, fetch, figures, persona
from hearmeglm.data.audit import audit
from hearmeglm.data.audit_page import write_page
from hearmeglm.data.contamination import contamination
from hearmeglm.data.licences import ledger
from hearmeglm.data.prepare import prepare
from hearmeglm.data.sources import read, survey
from hearmeglm.errors import DataError
from hearmeglm.files import read_json
from hearmeglm.recipe import Persona, parse_recipe
from hearmeglm.run import RunDir
from hearmeglm.types import Dialogue, Message

TALK = Dialogue(
    "1",
    (
        Message("system", "s"),
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "c"),
        Message("assistant", "d"),
    ),
)


@pytest.mark.parametrize("format", export.FORMATS)
def test_what_is_exported_reads_back_the_same(format: str, tmp_path: Path) -> None:
    export.write_format(tmp_path / "x.json", [TALK, TALK], format)
    again = [r.dialogue for r in read(tmp_path / "x.json")]
    assert [d.messages for d in again if d] == [TALK.messages] * 2


def test_a_run_is_exported_for_llamafactory(tmp_path: Path) -> None:
    recipe = parse_recipe(
        {
            "name": "t",
            "data": {"sources": {"starter": {"only": ["emoji"]}}},
            "stages": {"stage1": {"mix": {"persona": 1}}, "stage2": {"mix": {"starter": 2, "persona": 0.5}}},
        }
    )
    run = RunDir.create(tmp_path / "run", recipe)
    with pytest.raises(DataError, match="expected prepared data"):
        export.export_run(run, tmp_path / "out")
    prepare(recipe, run)
    done = export.export_run(run, tmp_path / "out")
    info = read_json(tmp_path / "out/dataset_info.json")
    assert {e["file_name"] for e in info.values()} == {f"{n}.json" for n in done["files"]}
    second = yaml.safe_load((tmp_path / "out/stage2.yaml").read_text())
    assert second["adapter_name_or_path"] == "saves/t/stage1"
    assert second["dataset"] == "train_starter_x2,train_persona_x0.5"
    assert info["train_starter_x2"]["num_samples"] == 2 * done["files"]["train_starter"]
    assert all(name in info for name in second["dataset"].split(","))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A local web server with ranges; `files` maps paths to bytes."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path.lstrip("/"))
            if body is None:
                self.send_error(404)
                return
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:])

        def log_message(self, *args: Any) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HEARME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HEARME_GITHUB_MIRROR", f"http://127.0.0.1:{web.server_address[1]}")
    yield files
    web.shutdown()
    web.server_close()
    thread.join()


def entry(**fields: str) -> fetch.Entry:
    return fetch.Entry("x", "X", "https://home", "MIT", "cite", "openai", "counselling", **fields)


def test_fetch_a_file_resumes_checks_and_is_idempotent(server: dict[str, bytes], tmp_path: Path) -> None:
    body = json.dumps([{"messages": []}] * 5000).encode()
    server["u/data.json"] = body
    one = entry(file="u/data.json", sha256=hashlib.sha256(body).hexdigest())
    part = (
        tmp_path
        / "cache/downloads"
        / f"x-{hashlib.sha256(fetch._mirrored('u/data.json').encode()).hexdigest()[:12]}.part"
    )
    part.parent.mkdir(parents=True)
    part.write_bytes(body[:1000])
    seen: list[int] = []
    done = fetch.fetch(one, tmp_path / "out", lambda n, total: seen.append(n))
    assert Path(done["path"]).read_bytes() == body
    assert seen[0] > 1000
    assert fetch.fetch(one, tmp_path / "out")["cached"]
    with pytest.raises(DataError, match="another digest"):
        fetch.fetch(entry(file="u/data.json", sha256="0" * 64), tmp_path / "other")
    assert not list((tmp_path / "other").glob("*")) if (tmp_path / "other").exists() else True
    with pytest.raises(DataError, match="answered 404"):
        fetch.fetch(entry(file="u/none.json", sha256="0" * 64), tmp_path / "other")


def test_fetch_an_archive_takes_only_the_folder(server: dict[str, bytes], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in {
            "r-1/D/a.txt": b"A",
            "r-1/D/sub/b.json": b"B",
            "r-1/other.txt": b"C",
            "r-1/D/../../evil.txt": b"E",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    server["r.tgz"] = buffer.getvalue()
    (tmp_path / "want/sub").mkdir(parents=True)
    (tmp_path / "want/a.txt").write_text("A")
    (tmp_path / "want/sub/b.json").write_text("B")
    one = entry(archive="r.tgz", folder="D", tree_sha256=fetch.tree_digest(tmp_path / "want"))
    assert fetch.fetch(one, tmp_path / "out")["files"] == 2
    assert not (tmp_path / "evil.txt").exists()
    assert fetch.fetch(one, tmp_path / "out")["cached"]
    (tmp_path / "out/a.txt").write_text("changed")
    with pytest.raises(DataError, match="found other files"):
        fetch.fetch(one, tmp_path / "out")


def test_the_catalogue_pins_what_it_fetches_and_explains_the_rest(shared_data: Path) -> None:
    for one in fetch.catalogue().values():
        assert sum(map(bool, (one.archive, one.file, one.link))) == 1
        assert one.link or re.search(r"[0-9a-f]{40}", one.archive + one.file)
        assert one.link or one.tree_sha256 or one.sha256 or one.git_blob
    with pytest.raises(DataError, match="not fetched"):
        fetch.fetch(fetch.entry("smilechat"))
    with pytest.raises(DataError, match="known data set"):
        fetch.entry("nonsense")
    assert fetch.tree_digest(shared_data / "cpsycound") == fetch.entry("cpsycound").tree_sha256
    assert (
        hashlib.sha256((shared_data / "emollm/tiangou.json").read_bytes()).hexdigest() == fetch.entry("tiangou").sha256
    )


def test_the_strictest_licence_decides() -> None:
    assert ledger({"a": "CC BY 4.0", "b": "mit"})["commercial"] == "yes"
    mixed = ledger({"a": "CC-BY-4.0", "b": "CC BY-NC 4.0"})
    assert (mixed["publish"], mixed["commercial"], mixed["because"]) == ("yes", "no", ["b"])
    assert ledger({"a": "MIT", "b": ""})["publish"] == "unknown"
    assert ledger({})["publish"] == "unknown"


def test_contamination_is_seen() -> None:
    question = "最近考研遇到困难，感觉自己的志向和计划都没有了方向，很迷茫。"
    train = [Dialogue("t", (Message("user", question), Message("assistant", "慢慢来。")))]
    other = [Dialogue("e", (Message("user", question), Message("assistant", "换一种说法。")))]
    assert contamination(train, other)["utterances"][0]["trains"] == ["t"]
    clean = [
        Dialogue("e", (Message("user", "我和妈妈吵架了，她说再也不想看见我这个人。"), Message("assistant", "嗯。")))
    ]
    assert contamination(train, clean)["clean"]


def test_real_audit_reproduces_the_known_counts(shared_data: Path) -> None:
    report = audit(read(shared_data / "cpsycound"), "cpsycound", licence="CC-BY-4.0", personal=False, near=0)
    wanted = {
        "files": 3084,
        "crlf": 2050,
        "trailing_client_turn": 731,
        "consecutive_counsellor_turns": 329,
        "consecutive_client_turns": 16,
        "numbered_lines": 225,
        "labels_with_names": 8,
        "shortest": 257,
        "longest": 1911,
        "mean_characters": 818,
    }
    assert {k: report["transcripts"][k] for k in wanted} == wanted
    assert report["label_leaks_after_cleaning"] == 0
    assert (report["escalation"]["dialogues_with_risk_words"], report["escalation"]["names_hotline_or_emergency"]) == (
        64,
        0,
    )
    assert any("escalation" in w["en"] for w in report["warnings"])


def test_the_page_holds_both_languages_and_the_pictures(tmp_path: Path) -> None:
    records = list(read(""))
    dialogues = [r.dialogue for r in records if r.dialogue][:60]
    report = audit(records[:60], "starter <b>", licence="CC BY 4.0", own=True)
    files = write_page(tmp_path, [report], {"starter <b>": dialogues})
    page = files[0].read_text(encoding="utf-8")
    assert "训练之前的数据审计" in page
    assert "May I publish" in page
    assert "data:image/png;base64," in page
    assert "starter <b>" not in page
    assert read_json(tmp_path / "audit.json")["licence"]["publish"] == "yes"


def test_figures_without_a_chinese_font_are_in_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "cjk_font", lambda: None)
    canvas = figures.Canvas(2, 2)
    assert canvas.label("字符", "characters") == "characters"
    assert canvas.name("语料").isascii()
    figures.length_histograms(tmp_path / "h.png", "语料", {"characters": [1, 2, 3], "turns": [1, 1, 2]})
    assert (tmp_path / "h.png").stat().st_size > 5000


def test_the_corpus_keeps_its_promises() -> None:
    reading = survey("", "starter")
    assert reading.dropped == 0
    text = card.corpus_card()
    assert "{" not in text
    dialogues = [r.dialogue for r in read("") if r.dialogue]
    assert len({d.id for d in dialogues}) == len(dialogues) >= 200
    for d in dialogues:
        assert d.meta["kind"] in card.WANTED
        assert d.messages[0].role == ("system" if d.meta["kind"] == "emoji" else "user"), d.id
        assert not re.search(r"\{\w+\}", "".join(m.content for m in d.messages)), d.id


def test_persona_pairs_take_any_persona(tmp_path: Path) -> None:
    other = Persona.model_validate({"name": "Mei", "developer": "Lab 7", "role_en": "assistant counsellor"})
    found = list(persona.pairs(other))
    assert len(found) >= 100
    text = json.dumps([d.to_json() for d in found], ensure_ascii=False)
    assert "Jerry" not in text
    assert "VastEpiphany" not in text
    assert "Mei" in text
    assert not re.search(r"\ba assistant", text)
    (tmp_path / "p.jsonl").write_text('{"lang": "zh", "user": "你是谁", "assistant": "我是{nobody}"}\n')
    with pytest.raises(DataError, match="nobody"):
        list(persona.pairs(other.model_copy(update={"file": str(tmp_path / "p.jsonl")})))
