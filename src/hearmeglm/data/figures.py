"""Pictures of data: length histograms and shares. Chinese only where a font can draw it, never boxes instead of characters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_open

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei", "SimSun", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Serif CJK SC", "Arial Unicode MS", "Droid Sans Fallback",
)  # fmt: skip
COLOURS = ("#2f6f8f", "#d98c5f", "#6a9a5b", "#8c6bb1", "#c45a66", "#5b7fbf", "#a58b4c", "#4f9d9d")
DPI = 160


def cjk_font() -> str | None:
    """Name of an installed font with Chinese characters for matplotlib, or None. `HEARME_FONT` may name a font file."""
    from matplotlib import font_manager

    extra = os.environ.get("HEARME_FONT")
    if extra and Path(extra).is_file():
        font_manager.fontManager.addfont(extra)
        return str(font_manager.FontProperties(fname=extra).get_name())
    installed = {f.name for f in font_manager.fontManager.ttflist}
    return next((name for name in CJK_FONTS if name in installed), None)


class Canvas:
    """A figure with a font that can draw its labels: Chinese and English if a CJK font is installed, else English only."""

    def __init__(self, width: float, height: float, columns: int = 1, rows: int = 1) -> None:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.font = cjk_font()
        family = [self.font, "DejaVu Sans"] if self.font else ["DejaVu Sans"]
        self.style = {
            "font.family": family,
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.unicode_minus": False,
        }
        with matplotlib.rc_context(self.style):
            self.figure: Figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
            FigureCanvasAgg(self.figure)
            self.axes: list[Any] = list(self.figure.subplots(rows, columns, squeeze=False).flat)

    def label(self, zh: str, en: str) -> str:
        """`zh en` where Chinese can be drawn, else the English alone."""
        return f"{zh} {en}" if self.font else en

    def name(self, text: str) -> str:
        """A name from outside, with characters no font here can draw escaped."""
        return text if self.font or text.isascii() else text.encode("ascii", "backslashreplace").decode()

    def save(self, path: Path) -> None:
        """Write a PNG atomically."""
        import matplotlib

        with matplotlib.rc_context(self.style), atomic_open(path, "wb") as out:
            self.figure.savefig(out, format="png", metadata={"Software": "HearMeGLM"})


def length_histograms(
    path: Path, source: str, measures: Mapping[str, Sequence[float]], cutoff: int | None = None
) -> None:
    """One panel a measure (`characters`, `turns`, `tokens`), with median and 95th percentile marked.

    Args:
        cutoff: a training cutoff in tokens, drawn in the tokens panel.
    """
    titles = {
        "characters": ("字符", "characters"),
        "turns": ("轮次", "counsellor turns"),
        "tokens": ("词元", "tokens"),
        "tokens (estimate)": ("词元（估计）", "tokens (estimate)"),
    }
    shown = {k: sorted(v) for k, v in measures.items() if v}
    canvas = Canvas(4.2 * max(len(shown), 1), 3.0, columns=max(len(shown), 1))
    for axes, (measure, values) in zip(canvas.axes, shown.items(), strict=True):
        whole = measure == "turns"
        edges = (
            [x - 0.5 for x in range(1, int(values[-1]) + 2)]
            if whole and values[-1] <= 60
            else min(40, max(8, len(set(values))))
        )
        axes.hist(values, bins=edges, color=COLOURS[0], edgecolor="white", linewidth=0.4)
        for share, style in ((0.5, "-"), (0.95, "--")):
            mark = values[min(len(values) - 1, int(share * len(values)))]
            axes.axvline(
                mark, color=COLOURS[1], linestyle=style, linewidth=1.2, label=f"P{round(share * 100)} = {mark:g}"
            )
        if measure.startswith("tokens") and cutoff:
            axes.axvline(cutoff, color=COLOURS[4], linewidth=1.4, label=f"cutoff = {cutoff}")
        axes.set_xlabel(canvas.label(*titles.get(measure, (measure, measure))))
        axes.set_ylabel(canvas.label("对话数", "dialogues"))
        axes.legend(frameon=False, fontsize=8)
    count = max((len(v) for v in shown.values()), default=0)
    canvas.figure.suptitle(f"{canvas.name(source)}  (n = {count})", fontsize=11)
    canvas.save(path)


def shares(path: Path, title: tuple[str, str], parts: Mapping[str, int], note: str = "") -> None:
    """Horizontal bars of counts with their share of the whole.

    Args:
        title: Chinese and English.
        note: a line below, for instance the reason of the split.
    """
    canvas = Canvas(6.4, 1.1 + 0.42 * max(len(parts), 1) + (0.3 if note else 0))
    axes, total = canvas.axes[0], sum(parts.values()) or 1
    names = list(parts)[::-1]
    bars = axes.barh(
        [canvas.name(n) for n in names],
        [parts[n] for n in names],
        color=[COLOURS[i % len(COLOURS)] for i in range(len(names))][::-1],
    )
    axes.bar_label(bars, [f"{parts[n]}  ({parts[n] / total:.1%})" for n in names], padding=3, fontsize=8)
    axes.margins(x=0.18)
    axes.set_title(canvas.label(*title), fontsize=11)
    if note:
        axes.set_xlabel(canvas.name(note), fontsize=8)
    canvas.save(path)
