"""The loss curve of a stage as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_open


def smooth(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average without the pull towards 0 at the start: s_t = sum w^(t-i) x_i / sum w^(t-i)."""
    out: list[float] = []
    total = norm = 0.0
    for v in values:
        total, norm = weight * total + v, weight * norm + 1
        out.append(total / norm)
    return out


def draw_loss(log: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Train loss (raw and smoothed) and evaluation loss against optimizer steps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [(row["step"], row["loss"]) for row in log if "loss" in row]
    held_out = [(row["step"], row["eval_loss"]) for row in log if "eval_loss" in row]
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if train:
        steps, losses = zip(*train, strict=True)
        axes.plot(steps, losses, color="tab:blue", alpha=0.3, label="train")
        axes.plot(steps, smooth(losses), color="tab:blue", label="train, smoothed")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", color="tab:orange", label="validation")
    axes.set(xlabel="optimizer step", ylabel="loss per supervised token (nats)", title=title)
    axes.grid(alpha=0.3)
    if train or held_out:
        axes.legend()
    with atomic_open(path, "wb") as out:
        figure.savefig(out, format="png")
