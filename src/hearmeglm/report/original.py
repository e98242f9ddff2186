"""What the original project published, for reference beside a run's own numbers, and the list of its figures and tables.

Source: the HearMeGLM course project report, 2024 (ChatGLM3-6B, one RTX 4090), tables 2, 4, 5 and 6.
"""

from __future__ import annotations

from typing import Final

TRAINING: Final[tuple[dict[str, float], dict[str, float]]] = (
    {
        "epoch": 72.73,
        "train_loss": 0.6525,
        "train_runtime": 262.27,
        "train_samples_per_second": 32.409,
        "train_steps_per_second": 0.381,
        "num_input_tokens_seen": 385032,
        "total_flos": 1.38e16,
    },
    {
        "epoch": 2.98,
        "train_loss": 1.384,
        "eval_loss": 1.229,
        "train_runtime": 10820.14,
        "eval_runtime": 127.15,
        "train_samples_per_second": 1.567,
        "eval_samples_per_second": 4.947,
        "train_steps_per_second": 0.032,
        "eval_steps_per_second": 0.826,
        "num_input_tokens_seen": 8751792,
        "total_flos": 3.15e17,
    },
)
"""Result tables 2 and 4: one mapping a stage."""

OVERLAP: Final[dict[str, tuple[float, float]]] = {
    "bleu-4": (7.5939, 11.2445),
    "rouge-1": (28.9453, 33.4573),
    "rouge-2": (7.5649, 11.2963),
    "rouge-l": (21.5485, 24.7631),
    "runtime_s": (764.53, 456.37),
    "samples_per_s": (1.367, 2.290),
    "steps_per_s": (0.171, 0.287),
}
"""Table 5: metric -> (before, after)."""

JUDGE: Final[dict[str, tuple[float, float]]] = {
    "comprehensiveness": (1.1323, 1.3125),
    "professionalism": (1.7451, 2.125),
    "authenticity": (2.1176, 2.3438),
    "safety": (1.00, 1.00),
}
"""Table 6: criterion -> (before, after)."""

FIGURES: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (1, ("fig:studio-inference",)),
    (2, ("fig:emoji-data", "fig:episode-emoji")),
    (3, ("fig:judge-criteria",)),
    (4, ("fig:sources",)),
    (5, ("fig:lengths",)),
    (6, ("fig:loss-1",)),
    (7, ("fig:loss-2",)),
    (8, ("fig:judge-workflow",)),
    (9, ("fig:judge-prompt",)),
    (10, ("fig:terminal-evaluation",)),
    (11, ("fig:studio-evaluation",)),
    (12, ("fig:judge-code",)),
    (13, ("fig:judge-raw",)),
    (14, ("fig:episode-identity", "fig:episode-misleading-premise")),
    (15, ("fig:episode-tone",)),
    (16, ("fig:episode-knowledge",)),
    (17, ("fig:episode-emoji",)),
)
"""Figure number -> keys of the blocks that show the same kind here."""

TABLES: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (1, ("tab:setup",)),
    (2, ("tab:training",)),
    (3, ("tab:setup",)),
    (4, ("tab:training",)),
    (5, ("tab:overlap",)),
    (6, ("tab:judge",)),
)
"""Table number -> keys of the blocks that show the same kind here."""
