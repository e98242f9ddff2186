"""Small charts as SVG: drawn on the server, coloured by the page's own light or dark theme, readable for screen readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 260
HALF = 380
"""Width of a chart that stands beside another."""
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 34
COLOURS = ("var(--hm-1)", "var(--hm-2)", "var(--hm-3)", "var(--hm-4)", "var(--hm-5)", "var(--hm-6)")
Point = tuple[float, float]


def lines(
    series: Mapping[str, Sequence[Point]],
    title: str,
    x_label: str,
    *,
    faint: Sequence[str] = (),
    dots: Sequence[str] = (),
    width: int = WIDTH,
) -> str:
    """Curves over a common axis, with a legend.

    Args:
        series: name -> points in order of x.
        faint: names drawn thin and pale (raw values below their smoothed curve).
        dots: names drawn with a mark at every point (few points).
        width: in the units that letters are measured in, so that they are as large in a narrow chart as in a wide one.
    """
    shown = {n: [(x, y) for x, y in pts if math.isfinite(y)] for n, pts in series.items()}
    shown = {n: pts for n, pts in shown.items() if pts}
    if not shown:
        return ""
    xs = [x for pts in shown.values() for x, _ in pts]
    ys = [y for pts in shown.values() for _, y in pts]
    x_low, x_high = min(xs), max(xs)
    x_high = x_high if x_high > x_low else x_low + 1
    marks = ticks(min(ys), max(ys))
    y_low, y_high = marks[0], marks[-1]

    def px(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (width - LEFT - RIGHT)

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    out = _axis_y(marks, py, width)
    for x in ticks(x_low, x_high):
        if x_low <= x <= x_high:
            out.append(f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_short(x)}</text>')
    out.append(f'<text x="{width - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(x_label)}</text>')
    colours = _colours(shown, faint)
    for name, pts in shown.items():
        thin = name in faint
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in _thinned(pts))
        style = f'fill="none" stroke="{colours[name]}" stroke-width="{1 if thin else 2.2}" opacity="{0.4 if thin else 1}" stroke-linejoin="round"'
        out.append(f'<polyline points="{path}" {style}/>')
        if name in dots or len(pts) == 1:
            out += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3.2" fill="{colours[name]}"/>' for x, y in pts]
    said = "; ".join(f"{n}: {pts[0][1]:.4g} → {pts[-1][1]:.4g}" for n, pts in shown.items())
    legend = {n: colours[n] for n in shown if n not in faint and n != title}
    return _figure(out, title, said, legend, width)


def bars(values: Mapping[str, float], title: str, *, form: str = "g") -> str:
    """Horizontal bars with their values; colours only tell neighbours apart."""
    if not values:
        return ""
    top = max(values.values()) or 1
    rows = [
        f'<div class="hm-bar"><span>{escape(name)}</span><div><i style="width:{max(0.4, 100 * v / top):.1f}%;background:{COLOURS[i % len(COLOURS)]}"></i></div><b>{format(v, form)}</b></div>'
        for i, (name, v) in enumerate(values.items())
    ]
    return f'<figure class="hm-chart"><figcaption>{escape(title)}</figcaption>{"".join(rows)}</figure>'


def histogram(values: Sequence[float], title: str, x_label: str, bins: int = 24) -> str:
    """How often which length occurs, with the median and the 95th percentile marked."""
    if not values:
        return ""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    span = (high - low) or 1
    count = min(bins, max(1, int(high - low) + 1))
    heights = [0] * count
    for v in ordered:
        heights[min(count - 1, int((v - low) / span * count))] += 1
    marks = ticks(0, max(heights))
    wide = (WIDTH - LEFT - RIGHT) / count

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - y / marks[-1] * (HEIGHT - TOP - BOTTOM)

    out = _axis_y(marks, py)
    out += [
        f'<rect x="{LEFT + i * wide + 0.7:.1f}" y="{py(h):.1f}" width="{max(wide - 1.4, 0.8):.1f}" height="{py(0) - py(h):.1f}" fill="{COLOURS[0]}" rx="1.5"/>'
        for i, h in enumerate(heights)
        if h
    ]
    for name, share in (("P50", 0.5), ("P95", 0.95)):
        v = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        x = LEFT + (v - low) / span * (WIDTH - LEFT - RIGHT)
        anchor = "end" if x > WIDTH * 0.8 else "start"
        out.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{COLOURS[1]}" stroke-width="1.6" stroke-dasharray="4 3"/>'
        )
        out.append(
            f'<text x="{x + (-4 if anchor == "end" else 4):.1f}" y="{TOP + (4 if name == "P50" else 18)}" text-anchor="{anchor}">{name} = {_short(v)}</text>'
        )
    for v, anchor in ((low, "start"), (high, "end")):
        x = LEFT if v == low else WIDTH - RIGHT
        out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{_short(v)}</text>')
    out.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 2}" text-anchor="middle">{escape(x_label)}</text>')
    return _figure(out, f"{title} (n = {len(values)})", f"P50 {_short(ordered[len(ordered) // 2])}", {})


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that enclose [low, high], for an axis."""
    if high <= low:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    raw = (high - low) / about
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _axis_y(marks: Sequence[float], py: object, width: int = WIDTH) -> list[str]:
    at = py if callable(py) else float
    out = []
    for y in marks:
        out.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{at(y):.1f}" y2="{at(y):.1f}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at(y) + 4:.1f}" text-anchor="end">{_short(y)}</text>')
    return out


def _colours(shown: Mapping[str, object], faint: Sequence[str]) -> dict[str, str]:
    """A faint curve has the colour of the strong one after it."""
    out: dict[str, str] = {}
    index = 0
    for name in shown:
        out[name] = COLOURS[index % len(COLOURS)]
        index += name not in faint
    return out


def _thinned(points: Sequence[Point], most: int = 600) -> Sequence[Point]:
    every = max(1, len(points) // most)
    return [*points[::every], points[-1]] if every > 1 else points


def _figure(parts: Sequence[str], title: str, said: str, legend: Mapping[str, str], width: int = WIDTH) -> str:
    keys = "".join(f'<span><i style="background:{c}"></i>{escape(n)}</span>' for n, c in legend.items())
    svg = f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(f"{title}. {said}")}">{"".join(parts)}</svg>'
    below = f'<div class="hm-legend">{keys}</div>' if keys else ""
    return f'<figure class="hm-chart"><figcaption>{escape(title)}</figcaption>{svg}{below}</figure>'


def _short(value: float) -> str:
    """A number as short as it stays clear: 12k, 0.05, 3e-05."""
    if value and abs(value) < 0.001:
        return f"{value:.3g}"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"
