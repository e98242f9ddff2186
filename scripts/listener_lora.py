"""Low-rank updates for the guard's model-based layer (used by train_guard.py).

The embedded base's decoder layers up to the last one read get LoRA (Hu et al. 2021, arXiv:2106.09685); what is pooled from them goes
to linear heads (`decision.HEADS` and the kind), trained together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hearmeglm.safety.decision import HEADS
from hearmeglm.safety.lexicon import KINDS
from hearmeglm.safety.listener import MODULES, batches, features, pool, run_layers

SEED, RANK, ALPHA = 11, 8, 2
LAYERS, BOTH_WAYS = (6, 9, 12), 6
BATCH, DROPOUT = 16, 0.2
FRESH, AGAIN = ((2, 5e-4), (1, 2e-4)), ((1, 2e-4), (1, 2e-4))
"""(epochs, learning rate at the start) of the cycles of a fit from nothing, and of one that goes on from another. Each warms up, falls to 0 along a cosine, and begins with a fresh optimizer (warm restarts, Loshchilov and Hutter 2016, arXiv:1608.03983)."""


@dataclass
class Texts:
    """Texts to learn from.

    Attributes:
        ids: token ids of the windows of each, after `<bos>`; the worst window counts. y: (n, 3) by HEADS. weight: (n, 3) of each label, 0 where unknown.
        kind: index in KINDS, -100 where unknown.
    """

    ids: list[list[list[int]]]
    y: torch.Tensor
    weight: torch.Tensor
    kind: torch.Tensor


class Net(nn.Module):
    """The base with updates, pooling and heads; takes `base` over."""

    def __init__(self, base: Any, sample: Sequence[Sequence[int]], start: dict[str, np.ndarray] | None = None) -> None:
        """sample: texts on which the untouched base's features are standardised. start: `parts` of the fit to go on from, else fresh ones."""
        super().__init__()
        torch.manual_seed(SEED)
        if start is None:
            read = features(base, sample, LAYERS, BOTH_WAYS)
            start = {"mean": read.mean(0), "scale": read.std(0) + 1e-3}
        downs = [value for name, value in start.items() if name.endswith(".down")]
        rank = len(downs[0]) if downs else RANK
        self.started = bool(downs)
        self.mean, self.scale = torch.tensor(start["mean"]), torch.tensor(start["scale"])
        trained = [f"layers.{i}.{module}" for i in range(max(LAYERS)) for module in MODULES]
        config = LoraConfig(r=rank, lora_alpha=ALPHA * rank, target_modules=trained)
        self.updated = get_peft_model(base, config)  # float32 updates of bfloat16 weights
        self.heads = nn.Linear(len(self.mean), len(HEADS) + len(KINDS))
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        if downs:
            self.take(start)

    def take(self, parts: dict[str, np.ndarray]) -> None:
        """Put another fit's updates and heads in place."""
        state = {}
        for key in get_peft_model_state_dict(self.updated):
            name, side = _place(key)
            value = torch.tensor(parts[f"{name}.{side}"].astype(np.float32))
            state[key] = value if side == "down" else value / ALPHA
        set_peft_model_state_dict(self.updated, state)
        with torch.no_grad():
            self.heads.weight.copy_(torch.tensor(parts["heads"].astype(np.float32)))
            self.heads.bias.copy_(torch.tensor(parts["bias"]))

    def forward(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """(n, outputs) logits of windows."""
        lengths = [len(i) for i in ids]
        tokens = nn.utils.rnn.pad_sequence([torch.tensor(i) for i in ids], batch_first=True)
        model = self.updated.get_base_model()
        with torch.autocast("cpu", torch.bfloat16):
            states = run_layers(model, model.embed_tokens(tokens), lengths, 0, LAYERS, BOTH_WAYS)
        z = (pool(states, lengths) - self.mean) / self.scale
        out: torch.Tensor = self.heads(nn.functional.dropout(z, DROPOUT, self.training))
        return out

    def parts(self) -> dict[str, np.ndarray]:
        """What `Listener.load` reads of it: `NAME.down` (r, in) and `NAME.up` (out, r), the update of NAME's weight being up @ down; heads; how to read."""
        out = {
            "layers": np.array(LAYERS),
            "both_ways": np.array(BOTH_WAYS),
            "mean": self.mean.numpy(),
            "scale": self.scale.numpy(),
            "heads": self.heads.weight.detach().numpy().astype(np.float16),
            "bias": self.heads.bias.detach().numpy(),
        }
        for key, value in get_peft_model_state_dict(self.updated).items():
            name, side = _place(key)
            out[f"{name}.{side}"] = (value if side == "down" else value * ALPHA).numpy().astype(np.float16)
        return out


def _place(key: str) -> tuple[str, str]:
    """PEFT's name of a factor -> (the module's name, "down" or "up")."""
    name, _, side = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
    return name, {"A": "down", "B": "up"}[side]


def loss_of(z: torch.Tensor, data: Texts, pick: torch.Tensor) -> torch.Tensor:
    """Weighted binary cross-entropy of the heads, and a third of the kind's cross-entropy where known."""
    n = len(HEADS)
    bce = nn.functional.binary_cross_entropy_with_logits(z[:, :n], data.y[pick], reduction="none")
    loss = (bce * data.weight[pick]).sum(1).mean()
    kind = data.kind[pick]
    return loss + nn.functional.cross_entropy(z[:, n:], kind) / 3 if (kind >= 0).any() else loss


def worst(z: torch.Tensor, windows: Sequence[int]) -> torch.Tensor:
    """(texts, outputs): the greatest logits of each text's windows."""
    return torch.stack([part.amax(0) for part in z.split(list(windows))])


def fit(net: Net, data: Texts, rows: np.ndarray, held: np.ndarray) -> None:
    """Train on the texts of `rows` in batches of like length, as `FRESH` or `AGAIN` says; what is left is the mean of the cycles' ends.

    On the texts held back that mean is as good as asking both, and better than either (Izmailov et al. 2018, arXiv:1803.05407).
    """
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    torch._dynamo.config.recompile_limit = 64  # twelve layers, several shapes of mask
    for layer in net.updated.get_base_model().layers:  # half as fast again; needs a C++ compiler
        layer.compile(dynamic=True)
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    ends = []
    for epochs, rate in AGAIN if net.started else FRESH:
        cycle(net, data, rows, epochs, rate, rng)
        ends.append({name: p.detach().clone() for name, p in trained.items()})
        say(net, data, held, "end of a cycle")
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(torch.stack([end[name] for end in ends]).mean(0))
    say(net, data, held, "mean of the cycles")


def say(net: Net, data: Texts, held: np.ndarray, name: str) -> None:
    """How well the heads tell the texts held back apart."""
    odds = logits(net.eval(), [data.ids[i] for i in held])[:, : len(HEADS)]
    areas = []
    for h, head in enumerate(HEADS):
        known = data.weight[held, h].numpy() > 0
        areas.append(f"{head} {roc_auc_score(data.y[held, h].numpy()[known], odds[known, h]):.4f}")
    print(f"{name}, AUC on the texts held back: {', '.join(areas)}", flush=True)


def cycle(net: Net, data: Texts, rows: np.ndarray, epochs: int, rate: float, rng: np.random.Generator) -> None:
    """Some epochs with a learning rate that ends at 0."""
    net.train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in net.updated.parameters() if p.requires_grad], "weight_decay": 0.01},
            {"params": net.heads.parameters(), "weight_decay": 0.05},
        ],
        lr=rate,
        fused=True,
    )
    steps = epochs * math.ceil(len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 30) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps)))
    )
    begun, losses = time.time(), []
    for epoch in range(epochs):
        order = sorted(rng.permutation(rows).tolist(), key=lambda i: sum(map(len, data.ids[i])) + rng.integers(0, 4))
        parts = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        for j in rng.permutation(len(parts)):
            with sdpa_kernel(SDPBackend.MATH):  # on texts so short faster than the fused one, forth and back
                z = net([window for i in parts[j] for window in data.ids[i]])
                z = worst(z, [len(data.ids[i]) for i in parts[j]])
                loss = loss_of(z, data, torch.tensor(parts[j]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) % 100 == 0:
                done = f"epoch {epoch + 1}, step {len(losses)} of {steps}"
                print(f"  {done}: loss {np.mean(losses[-100:]):.4f}, {time.time() - begun:.0f} s", flush=True)


def logits(net: Net, ids: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    """(len(ids), outputs) of texts, each given by its windows."""
    windows = [window for text in ids for window in text]
    out = torch.zeros(len(windows), net.heads.out_features)
    with torch.inference_mode():
        for batch in batches([len(i) for i in windows]):
            out[batch] = net([windows[i] for i in batch])
    return worst(out, [len(text) for text in ids]).numpy()
