"""Counters for `/metrics` in the Prometheus text format, version 0.0.4. No text, no names, no addresses."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the time histograms, in seconds."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Everything the server counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._help: dict[str, tuple[str, str]] = {}
        self._counts: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, tuple[list[int], list[float]]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read when asked for."""
        self._help[name] = ("gauge", text)
        self._gauges[name] = read

    def counter(self, name: str, text: str) -> None:
        """Announce a counter."""
        self._help[name] = ("counter", text)
        self._counts[name] = {}

    def histogram(self, name: str, text: str) -> None:
        """Announce a histogram of seconds."""
        self._help[name] = ("histogram", text)
        self._times[name] = ([0] * (len(BUCKETS_S) + 1), [0.0])

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count; label values must come from a small fixed set."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._counts[name][key] = self._counts[name].get(key, 0) + amount

    def observe(self, name: str, seconds: float) -> None:
        """Add one time to a histogram."""
        place = sum(seconds > bound for bound in BUCKETS_S)
        with self._lock:
            buckets, total = self._times[name]
            buckets[place] += 1
            total[0] += seconds

    def text(self) -> str:
        """The whole page."""
        lines: list[str] = []
        with self._lock:
            for name, (kind, text) in self._help.items():
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                if kind == "gauge":
                    lines.append(f"{name} {self._gauges[name]():g}")
                elif kind == "counter":
                    lines += [f"{name}{_labels(key)} {value:.15g}" for key, value in sorted(self._counts[name].items())]
                else:
                    lines += self._histogram(name)
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str) -> list[str]:
        buckets, total = self._times[name]
        bounds = [*(f"{b:g}" for b in BUCKETS_S), "+Inf"]
        lines = [f'{name}_bucket{{le="{b}"}} {sum(buckets[: i + 1])}' for i, b in enumerate(bounds)]
        return [*lines, f"{name}_sum {total[0]:.6f}", f"{name}_count {sum(buckets)}"]


def _labels(key: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in key) + "}" if key else ""


def server_metrics() -> Metrics:
    """The counters of `hearme serve`, announced."""
    metrics = Metrics()
    metrics.counter("hearme_requests_total", "HTTP requests by route and status.")
    metrics.counter("hearme_tokens_total", "Tokens sent to clients.")
    metrics.counter("hearme_cancelled_total", "Replies given up because the client left.")
    metrics.counter("hearme_refused_total", "Requests refused, by reason (rate, queue, length, key).")
    metrics.counter(
        "hearme_guard_total",
        "Replies by the level of their talk and by what the client saw (model, or what the guard put in).",
    )
    metrics.histogram("hearme_first_token_seconds", "From the request to the first piece of the reply.")
    metrics.histogram("hearme_reply_seconds", "From the request to the end of the reply.")
    return metrics
