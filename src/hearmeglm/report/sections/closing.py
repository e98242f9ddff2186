"""Deployment, safety, limits, licences, step log and captures, reproduction, references."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from ...data.licences import terms
from ..blocks import Block, Bullets, Code, Figure, Heading, NotRun, Para, Table
from ..data import Capture, ReportData
from ..words import Words, number
from .evaluation import suite_table

BENCH = (
    "model",
    "size_mb",
    "memory_mb",
    "load_s",
    "first_token_warm_s",
    "tokens_per_s",
    "bleu-4",
    "rouge-l",
    "persona",
    "crisis",
)
DIGESTS = 18


def deployment(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Forms of the model with size and speed, and how to run it."""
    out: list[Block] = [Para(w("deployment.text"))]
    if d.bench:
        keys = [k for k in BENCH if any(k in row for row in d.bench)]
        rows = tuple(tuple(v if isinstance(v := row.get(k), str) else number(v) for k in keys) for row in d.bench)
        heads = tuple(w(f"bench.{k}") for k in keys)
        out.append(Table("tab:bench", w("cap.bench"), heads, rows, "l" + "r" * (len(keys) - 1), (), "evals/bench.json"))
    else:
        out.append(
            NotRun("tab:bench", w("deployment.none"), f"hearme bench-model {d.run} --out {d.run}/evals/bench.json")
        )
    listed = tuple(line.replace("{run}", d.run) for line in w.lines("deployment.list"))
    return (*out, Heading(w("deployment.ways")), Bullets(listed))


def _category(text: str, w: Words) -> str:
    """`recall kind=abuse` in words, part by part; what no word is known for (a data set's own labels) stays."""
    what = next((k for k in ("false alarms", "recall") if text.startswith(k)), "")
    name, _, value = text[len(what) :].strip().partition("=")
    parts = (w.known(f"guard.{x}", x) for x in (what, name, value) if x)
    return " · ".join(parts)


def safety(d: ReportData, w: Words) -> tuple[Block, ...]:
    """The crisis layer and every safety suite that ran."""
    out: list[Block] = [Para(w("safety.text"))]
    others = [s for s in d.suites if s.name != "persona"]
    out += [suite_table(f"tab:suite-{s.name}", w("cap.suite", name=s.name), s, w) for s in others]
    if not any("crisis" in s.name for s in others):
        out.append(NotRun("tab:suite-crisis", w("safety.none"), ""))
    if d.guard:
        rows = tuple(
            (g.name, _category(g.kind, w), number(g.n), number(g.rate, ".3f"), f"[{g.low:.3f}, {g.high:.3f}]")
            for g in d.guard
        )
        heads = tuple(w(f"head.{h}") for h in ("measured", "category", "n", "rate", "interval"))
        out.append(Table("tab:guard", w("cap.guard"), heads, rows, "llrrr", (), "evals/guard.json"))
    else:
        out.append(NotRun("tab:guard", w("guard.none"), f"hearme guard eval --json > {d.run}/evals/guard.json"))
    return tuple(out)


def limits(d: ReportData, w: Words) -> tuple[Block, ...]:
    """What it cannot do."""
    return (Bullets(w.lines("limits.list")),)


def licences(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Licences of software, base and every source."""
    starter = d.recipe.base == "starter"
    base = w("licence.base.starter" if starter else "licence.base.other")
    rows = [
        (w("licence.software"), "HearMeGLM", "Apache-2.0", *_terms("Apache-2.0", w)),
        (w("licence.base"), d.base_name, base, "–", "–"),
    ]
    for name, source in d.recipe.data.sources.items():
        if source.enabled:
            rows.append((w("head.source"), name, source.licence or w("licence.unknown"), *_terms(source.licence, w)))
    heads = ("category", "source", "licence", "publish", "duties")
    return (
        Para(w("licences.text")),
        Table("tab:licences", w("cap.licences"), tuple(w(f"head.{h}") for h in heads), tuple(rows), "lllll", (1.2, 1.8, 2, 1.8, 3.4), "recipe.yaml"),
    )  # fmt: skip


def _terms(licence: str, w: Words) -> tuple[str, str]:
    """Whether an adapter trained on it may be published and used commercially, and the duties."""
    found = terms(licence)
    return (
        f"{w(f'answer.{found.publish}')} / {w(f'answer.{found.commercial}')}",
        found.duties_zh if w.lang == "zh" else found.duties_en,
    )


def log(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Every step with its time, and captures of terminal and studio."""
    out: list[Block] = []
    if d.log:
        rows = tuple(
            (m.finished, w.known(f"step.{m.step}", m.step), str(m.seed), m.commit[:10] + ("+" if m.commit.endswith("+") else "") or "–")
            for m in d.log
        )  # fmt: skip
        heads = ("time", "step", "seed", "commit")
        out += [
            Para(w("log.text")),
            Table("tab:log", w("cap.log"), tuple(w(f"head.{h}") for h in heads), rows, "llrl", (), "*/manifest.json"),
        ]
    else:
        out.append(NotRun("tab:log", w("log.none"), f"hearme run {d.recipe.name} --run {d.run}"))
    out.append(Heading(w("captures")))
    have = {(c.where, c.moment): c for c in d.captures}
    for where in ("terminal", "studio"):
        for moment in ("setup", "training", "evaluation", "inference"):
            shown = have.get((where, moment))
            what = w("cap.capture", place=w(f"place.{where}"), moment=w(f"moment.{moment}"))
            key = f"fig:{where}-{moment}"
            out.append(
                _capture(key, what, shown)
                if shown
                else NotRun(
                    key,
                    w("capture.none", what=what),
                    f"hearme train {d.run} 2>&1 | tee {d.run}/captures/terminal-training.txt"
                    if moment == "training"
                    else f"hearme report {d.run} --capture"
                    if where == "terminal"
                    else "hearme studio",
                )
            )
    return tuple(out)  # fmt: skip


def _capture(key: str, caption: str, shown: Capture) -> Figure:
    data = shown.path.read_bytes()
    source = f"{shown.path.parent.name}/{shown.path.name}"
    if shown.path.suffix == ".svg":
        return Figure(key, caption, data.decode("utf-8"), b"", 16, caption, source)
    kind = "jpeg" if shown.path.suffix == ".jpg" else "png"
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    width, height = image_size(shown.path)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}"><image width="{width}" height="{height}" xlink:href="{uri}"/></svg>'
    return Figure(key, caption, svg, data, 12.4, caption, source)  # so that two fit on a page


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a bitmap in pixels."""
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def reproduce(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Commands, machine, versions, digests, recipe."""
    lines = [
        "make setup",
        f"hearme run {d.run}/recipe.yaml --run again",
        f"hearme evaluate {d.run}",
        f"hearme report {d.run} --lang both --format pdf",
    ]
    out: list[Block] = [
        Para(w("reproduce.text", digest=d.recipe_digest[:16])),
        Heading(w("reproduce.command")),
        Code("\n".join(lines)),
    ]  # fmt: skip
    if not d.log:
        out.append(NotRun("tab:versions", w("cap.versions"), f"hearme run {d.recipe.name}"))
    else:
        last = d.log[-1]
        out.append(Para(w("reproduce.machine", machine=last.machine), quiet=True))
        heads = (w("head.package"), w("head.version"))
        out.append(
            Table(
                "tab:versions",
                w("cap.versions"),
                heads,
                tuple(last.versions.items()),
                "ll",
                (),
                f"{last.step}/manifest.json",
            )
        )
        files = [
            (f"{m.step}/{f}".replace(f"{m.step}/../", ""), digest[:16]) for m in d.log for f, digest in m.files.items()
        ]
        wanted = [x for x in files if not x[0].endswith(".png")][:DIGESTS]
        out.append(
            Table(
                "tab:digests",
                w("cap.digests"),
                (w("head.file"), w("head.digest")),
                tuple(wanted),
                "ll",
                (3, 2),
                "*/manifest.json",
            )
        )
    tree = d.recipe.model_dump(
        mode="json", include={"name", "seed", "base", "template", "lora", "stages"}, exclude_defaults=True
    )
    if "base" in tree:
        tree["base"] = d.base_name
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).strip()
    return (*out, Heading(w("reproduce.recipe")), Code(text))  # fmt: skip


def references(d: ReportData, w: Words) -> tuple[Block, ...]:
    """What this builds on."""
    return (Bullets(w.lines("references.list"), ordered=True),)
