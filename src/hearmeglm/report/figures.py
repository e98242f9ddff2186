"""The report's own figures: one style, vectors (text as outlines, so no font is needed to read them) and 220 dpi beside them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..data.figures import cjk_font
from .blocks import Figure
from .data import DataPart, Delta, EvalPart, StagePart
from .words import Words, percent

INK, GREY, PALE, RULE = "#1f2d33", "#7b898e", "#eef3f2", "#d5dedd"
PALETTE = ("#2b6a6f", "#cf8a5b", "#7d9b6a", "#6f7fa8", "#b3626b", "#a08d54", "#5f9ea0", "#8b77a5")
DPI = 220
OVERLAP = ("bleu-4", "rouge-1", "rouge-2", "rouge-l")


@cache
def chinese_font() -> str | None:
    """A font with Chinese for matplotlib: the system's, else the one that the mplfonts package brings; None without either."""
    from matplotlib import font_manager

    if found := cjk_font():
        return found
    brought = find_spec("mplfonts")
    files = (
        sorted(Path(brought.origin).parent.glob("fonts/NotoSansCJKsc-Regular.*")) if brought and brought.origin else []
    )
    for file in files:
        font_manager.fontManager.addfont(file)
        return str(font_manager.FontProperties(fname=file).get_name())
    return None


def drawable(w: Words) -> Words:
    """The words for inside a picture: English where no font can draw Chinese, never boxes instead of characters."""
    return w if chinese_font() else Words("en")


@contextmanager
def drawing(width_cm: float, height_cm: float, rows: int = 1, columns: int = 1) -> Iterator[tuple[Any, list[Any]]]:
    """A figure and its axes in the report's style."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    font = chinese_font()
    style = {
        "font.family": [font, "DejaVu Sans"] if font else ["DejaVu Sans"],
        "font.size": 8.5, "axes.titlesize": 9, "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": GREY, "ytick.color": GREY, "axes.edgecolor": RULE, "axes.titlecolor": INK,
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.unicode_minus": False,
        "axes.grid": True, "grid.color": PALE, "axes.axisbelow": True, "svg.fonttype": "path", "svg.hashsalt": "hearmeglm", "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Canvas(figsize=(width_cm / 2.54, height_cm / 2.54), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _finish(figure: Any, key: str, caption: str, width_cm: float, source: str) -> Figure:
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    figure.savefig(png, format="png", facecolor="white", metadata={"Software": None})
    text = svg.getvalue()
    return Figure(key, caption, text[text.index("<svg") :], png.getvalue(), width_cm, caption, source)


def shares(key: str, caption: str, parts: Mapping[str, int], source: str) -> Figure:
    """One stacked bar with its parts named below: shares of a whole."""
    total = sum(parts.values())
    with drawing(16, 2.2 + 0.5 * ((len(parts) + 2) // 3)) as (figure, (axes,)):
        left = 0
        for i, (name, n) in enumerate(parts.items()):
            label = f"{name}  {n:,d} ({percent(n, total)})"
            axes.barh([0], [n], left=left, color=PALETTE[i % len(PALETTE)], edgecolor="white", linewidth=1, label=label)
            left += n
        axes.set(xlim=(0, total or 1), yticks=[])
        axes.grid(False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xticks([])
        figure.legend(loc="outside lower center", ncols=3, handlelength=1, handleheight=1)
        return _finish(figure, key, caption, 16, source)


def lengths(data: DataPart, w: Words) -> Figure:
    """Histograms of characters and counsellor turns, a row a source, with median and 95th percentile."""
    inner = drawable(w)
    shown = [s for s in data.sources if s.lengths]
    with drawing(16, 4.4 * max(1, len(shown)), rows=max(1, len(shown)), columns=2) as (figure, axes):
        for i, s in enumerate(shown):
            for j, (values, label) in enumerate(((s.lengths, inner("fig.chars")), (s.turns_each, inner("fig.turns")))):
                ax, ordered = axes[2 * i + j], sorted(values)
                bins = [x - 0.5 for x in range(1, ordered[-1] + 2)] if j and ordered[-1] <= 60 else 30
                ax.hist(ordered, bins=bins, color=PALETTE[i % len(PALETTE)], edgecolor="white", linewidth=0.4)
                for share, style in ((0.5, "-"), (0.95, "--")):
                    mark = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
                    ax.axvline(
                        mark, color=INK, linestyle=style, linewidth=0.9, label=f"P{round(share * 100)} = {mark:,d}"
                    )
                ax.set(
                    xlabel=label, ylabel=inner("fig.count"), title=f"{s.name} (n = {len(ordered):,d})" if not j else ""
                )
                ax.legend()
        return _finish(figure, "fig:lengths", w("cap.fig.lengths"), 16, "data/{train,valid,test}.jsonl")


def loss(stage: StagePart, number: int, w: Words) -> Figure:
    """Training loss, raw and smoothed, and validation loss against optimizer steps."""
    inner = drawable(w)
    from ..train.curves import smooth

    with drawing(16, 6.4) as (figure, (axes,)):
        if stage.train:
            steps, values = [p.step for p in stage.train], [p.loss for p in stage.train]
            axes.plot(steps, values, color=PALETTE[0], alpha=0.28, linewidth=0.9, label=inner("fig.train"))
            axes.plot(steps, smooth(values), color=PALETTE[0], linewidth=1.6, label=inner("fig.smooth"))
        if stage.valid:
            axes.plot(
                [p.step for p in stage.valid],
                [p.loss for p in stage.valid],
                "o-",
                color=PALETTE[1],
                markersize=4,
                linewidth=1.4,
                label=inner("fig.valid"),
            )
        axes.set(xlabel=inner("fig.step"), ylabel=inner("fig.loss"))
        figure.legend(loc="outside upper center", ncols=3)
        name = w.known(f"model.{stage.name}", stage.name)
        return _finish(figure, f"fig:loss-{number}", w("cap.loss", stage=name), 15, f"{stage.name}/metrics.jsonl")


def overlap(evals: EvalPart, w: Words) -> Figure:
    """Bars of the four overlap numbers, a colour a model."""
    inner = drawable(w)
    width = 0.8 / max(1, len(evals.models))
    with drawing(16, 6.6) as (figure, (axes,)):
        for i, m in enumerate(evals.models):
            name = inner.known(f"model.{m.name}", m.name)
            bars = axes.bar(
                [x + i * width for x in range(4)],
                [m.values.get(k) or 0.0 for k in OVERLAP],
                width * 0.92,
                color=PALETTE[i % len(PALETTE)],
                label=name,
            )
            axes.bar_label(bars, fmt="%.1f", fontsize=6.5, padding=1.5, color=GREY)
        middle = width * (len(evals.models) - 1) / 2
        axes.set_xticks([x + middle for x in range(4)], ["BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"])
        axes.grid(False, axis="x")
        axes.set_ylabel("%")
        figure.legend(loc="outside upper center", ncols=4)
        return _finish(figure, "fig:overlap", w("cap.fig.overlap"), 15, f"evals/summary.json, n = {evals.prompts}")


def deltas(rows: Sequence[Delta], w: Words) -> Figure:
    """Differences with their intervals as a forest plot; each in units of its own mean before, since scales differ."""
    inner = drawable(w)
    with drawing(16, 1.6 + 0.7 * len(rows)) as (figure, (axes,)):
        for i, d in enumerate(reversed(rows)):
            unit = abs(d.mean_before) or 1.0
            points = [100 * v / unit for v in (d.low, d.difference, d.high)]
            clear = d.low > 0 or d.high < 0
            colour = PALETTE[0] if clear else GREY
            axes.plot([points[0], points[2]], [i, i], color=colour, linewidth=2)
            axes.plot([points[1]], [i], "o", color=colour, markersize=5)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [inner.known(f"m.{d.metric}", d.metric) for d in reversed(rows)])
        axes.set_xlabel("%")
        names = {k: w.known(f"model.{v}", v) for k, v in (("before", rows[0].before), ("after", rows[0].after))}
        return _finish(figure, "fig:delta", w("cap.fig.delta", **names), 15, "scores.jsonl")


def criteria(points: Mapping[str, tuple[str, int]], w: Words) -> Figure:
    """The judge's criteria as bars of their highest score."""
    inner = drawable(w)
    names = [f"{zh} {key}" if inner.lang == "zh" else key for key, (zh, _) in points.items()][::-1]
    values = [n for _, n in points.values()][::-1]
    with drawing(16, 3.8) as (figure, (axes,)):
        bars = axes.barh(names, values, color=PALETTE[: len(values)][::-1], height=0.62)
        total = sum(values)
        axes.bar_label(bars, [f"{v}  ({percent(v, total)})" for v in values], padding=4)
        axes.margins(x=0.15)
        axes.grid(False)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return _finish(figure, "fig:judge-criteria", w("cap.fig.criteria"), 12, "evals/judge/rubric.yaml")


def workflow(w: Words) -> Figure:
    """The judge's way from dialogue to mean, as boxes and arrows."""
    inner = drawable(w)
    from matplotlib.patches import FancyBboxPatch

    steps = [inner(f"flow.{k}") for k in ("draw", "history", "answer", "score", "check", "mean")]
    with drawing(17, 3.4) as (figure, (axes,)):
        axes.set(xlim=(0, 6), ylim=(-1.15, 1))
        axes.axis("off")

        def box(x: float, y: float, text: str, colour: str, ink: str) -> None:
            axes.add_patch(
                FancyBboxPatch(
                    (x - 0.37, y - 0.32), 0.74, 0.64, boxstyle="round,pad=0.02,rounding_size=0.06", fc=colour, ec="none"
                )
            )
            words = text.split(" ")
            half = (len(words) + 1) // 2
            wrapped = "\n".join([" ".join(words[:half]), " ".join(words[half:])]).strip() if len(text) > 9 else text
            axes.text(x, y, wrapped, ha="center", va="center", color=ink, fontsize=7.5)

        arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
        for i, text in enumerate(steps):
            box(i + 0.5, 0.45, text, PALETTE[0], "white")
            if i:
                axes.annotate("", (i + 0.11, 0.45), (i - 0.11, 0.45), arrowprops=arrow)
        box(4.5, -0.75, inner("flow.unscored"), PALE, INK)
        axes.annotate("", (4.5, -0.41), (4.5, 0.11), arrowprops=arrow)
        return _finish(figure, "fig:judge-workflow", w("cap.fig.workflow"), 16, "")
