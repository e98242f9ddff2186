"""The audit as a page for people: one HTML file, Chinese and English, pictures inside."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import write_json, write_text
from ..types import Dialogue
from . import figures, licences, stats

TEMPLATE = Path(__file__).with_name("audit.html.jinja")
SIGNS = (
    ("prescription", "开药或剂量", "prescription or dosage"),
    ("medication", "提到药物", "medication mentioned"),
    ("diagnosis", "诊断", "diagnosis"),
    ("dependence", "诱导依赖", "dependence-seeking"),
    ("standing_offer", "“随时来找我”", "standing offer"),
    ("emoji", "表情符号", "emoji"),
    ("markdown", "Markdown 或列表", "Markdown or lists"),
    ("control_tokens", "控制符文本", "control-token text"),
)
ANSWERS = {
    "yes": '<span class="zh">可以</span><span class="en">yes</span>',
    "no": '<span class="zh">不可以</span><span class="en">no</span>',
    "unknown": '<span class="zh">先询问</span><span class="en">ask first</span>',
}


def write_page(
    folder: Path,
    audits: Sequence[dict[str, Any]],
    dialogues: Mapping[str, Sequence[Dialogue]],
    contamination: dict[str, Any] | None = None,
) -> list[Path]:
    """Write `audit.html`, `audit.json` and the histograms.

    Args:
        audits: reports of `audit.audit`.
        dialogues: the dialogues of each, by the report's name, for the pictures.
        contamination: report of `contamination.contamination`, if made.

    Returns:
        The files written, the page first.
    """
    from jinja2 import Environment, StrictUndefined

    pages, images = [], list[Path]()
    for number, report in enumerate(audits):
        tokens = report.get("tokens", {})
        measures: dict[str, Sequence[float]] = {
            "characters": [stats.characters(d) for d in dialogues[report["name"]]],
            "turns": [d.turns for d in dialogues[report["name"]]],
        }
        if tokens:
            measures["tokens"] = tokens["values"]
        path = folder / f"lengths-{number}.png"
        figures.length_histograms(path, Path(report["name"]).name or report["name"], measures, tokens.get("cutoff"))
        images.append(path)
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        pages.append({**report, "images": [{"alt": f"lengths of {report['name']}", "data": data}]})
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    mix = licences.ledger((row["source"], row["licence"]) for report in audits for row in report["licence"]["sources"])
    html = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        audits=[{"tokens": None, "personal_data": None, **p} for p in pages],
        contamination=contamination,
        licence=mix,
        answers=ANSWERS,
        sign_names=SIGNS,
        version=__version__,
        date=dt.date.today().isoformat(),
    )
    write_text(folder / "audit.html", html)
    write_json(folder / "audit.json", machine(audits, contamination))
    return [folder / "audit.html", folder / "audit.json", *images]


def machine(audits: Sequence[dict[str, Any]], contamination: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON form: the reports (without the single token lengths), the licence of the mix, contamination."""
    lean = [
        {k: ({x: y for x, y in v.items() if x != "values"} if k == "tokens" else v) for k, v in a.items()}
        for a in audits
    ]
    mix = licences.ledger((row["source"], row["licence"]) for report in audits for row in report["licence"]["sources"])
    return {"audits": lean, "licence": mix, "contamination": contamination}
