"""Low-rank updates for the guard's model-based layer (used by train_guard.py).

The embedded base's decoder layers `FROZEN` to the last one read get LoRA (Hu et al. 2021, arXiv:2106.09685); what is pooled from them goes
to linear heads for risk, crisis and kind, trained together. The states below never change, so they are computed once.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch import nn

from hearmeglm.safety.listener import MODULES, batches, pool, run_layers, token_windows

SEED, FROZEN, RANK, ALPHA = 11, 6, 8, 16
EPOCHS, LEARNING_RATE, BATCH, DROPOUT = 3, 5e-4, 16, 0.2


@dataclass
class Texts:
    """Texts as the trained layers see them.

    Attributes:
        low: per text (length, hidden) states after the first FROZEN layers. y: (n, 2) risk, crisis. known: (n, 2) which of them are labelled.
        kind: index in KINDS, -100 where unknown. weight: of each text.
    """

    low: list[torch.Tensor]
    y: torch.Tensor
    known: torch.Tensor
    kind: torch.Tensor
    weight: torch.Tensor


class Net(nn.Module):
    """A copy of the base with fresh updates, pooling and heads."""

    def __init__(self, base: Any, layers: Sequence[int], mean: torch.Tensor, scale: torch.Tensor, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        trained = [f"layers.{i}.{module}" for i in range(FROZEN, max(layers)) for module in MODULES]
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=trained)
        self.updated = get_peft_model(copy.deepcopy(base), config)  # float32 updates of bfloat16 weights
        self.layers, self.mean, self.scale = layers, mean, scale
        self.heads = nn.Linear(len(mean), outputs)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, low: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """(n, outputs) logits of right-padded low states (n, length, hidden)."""
        states = run_layers(self.updated.get_base_model(), low, FROZEN, self.layers)
        z = (pool(states, lengths) - self.mean) / self.scale
        out: torch.Tensor = self.heads(nn.functional.dropout(z, DROPOUT, self.training))
        return out

    def factors(self) -> dict[str, np.ndarray]:
        """`NAME.down` (r, in) and `NAME.up` (out, r) in float16; the update of NAME's weight is up @ down."""
        out = {}
        for key, value in get_peft_model_state_dict(self.updated).items():
            name, _, side = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
            factor = value if side == "A" else value * (ALPHA / RANK)
            out[f"{name}.{'down' if side == 'A' else 'up'}"] = factor.numpy().astype(np.float16)
        return out


def lower_states(tokenizer: Any, model: Any, texts: Sequence[str], layers: Sequence[int]) -> tuple[Any, Any, Any]:
    """(states below the trained layers, mean, deviation of the untouched base's pooled features)."""
    ids = [token_windows(tokenizer, t)[0] for t in texts]
    low: list[Any] = [None] * len(ids)
    pooled: list[Any] = [None] * len(ids)
    with torch.inference_mode():
        for batch in batches([len(i) for i in ids]):
            x = nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in batch], batch_first=True)
            states = run_layers(model, model.embed_tokens(x), 0, (FROZEN,))[0]
            features = pool(run_layers(model, states, FROZEN, layers), [len(ids[i]) for i in batch])
            for n, i in enumerate(batch):
                low[i], pooled[i] = states[n, : len(ids[i])], features[n]
    every = torch.stack(pooled)
    return [t.clone() for t in low], every.mean(0).clone(), (every.std(0) + 1e-3).clone()


def loss_of(z: torch.Tensor, data: Texts, pick: torch.Tensor) -> torch.Tensor:
    """Weighted binary cross-entropy of risk and crisis where known, and a third of the kind's cross-entropy where known."""
    bce = nn.functional.binary_cross_entropy_with_logits(z[:, :2], data.y[pick], reduction="none")
    loss = (bce * data.known[pick] * data.weight[pick, None]).sum(1).mean()
    kind = data.kind[pick]
    return loss + nn.functional.cross_entropy(z[:, 2:], kind) / 3 if (kind >= 0).any() else loss


def fit(net: Net, data: Texts, use: np.ndarray) -> Net:
    """Train on the texts of `use` (a mask), batches of like length; warm-up, then a cosine to 0."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    rows = np.flatnonzero(use)
    net.train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in net.updated.parameters() if p.requires_grad], "weight_decay": 0.01},
            {"params": net.heads.parameters(), "weight_decay": 0.05},
        ],
        lr=LEARNING_RATE,
    )
    steps = EPOCHS * math.ceil(len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 30) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps)))
    )
    begun = time.time()
    for epoch in range(EPOCHS):
        losses = []
        order = sorted(rng.permutation(rows).tolist(), key=lambda i: len(data.low[i]) + rng.integers(0, 12))
        parts = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        for j in rng.permutation(len(parts)):
            pick = torch.tensor(parts[j])
            loss = loss_of(net(*padded(data, parts[j])), data, pick)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"  epoch {epoch + 1}: loss {np.mean(losses):.4f}, {time.time() - begun:.0f} s", flush=True)
    return net.eval()


def padded(data: Texts, rows: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
    """Low states of rows, right-padded, and their lengths."""
    low = [data.low[i] for i in rows]
    return nn.utils.rnn.pad_sequence(low, batch_first=True), [len(t) for t in low]


def logits(net: Net, data: Texts, rows: np.ndarray) -> np.ndarray:
    """(len(rows), outputs)."""
    out = np.zeros((len(rows), net.heads.out_features), dtype=np.float32)
    with torch.inference_mode():
        for batch in batches([len(data.low[i]) for i in rows]):
            out[batch] = net(*padded(data, [rows[i] for i in batch])).numpy()
    return out
