"""The model-based layer of the guard: the embedded base reads a message, a small trained head says how dangerous it sounds.

    heard = Listener.load(path).hear(["人死的时候会疼吗", "有没有那种吃了就睡过去的东西"])   # one `Heard` a text, in order

Features of a text: mean, last and maximum of the hidden states after some of the decoder layers of Gemma 3 270M, the upper of which
carry low-rank updates (LoRA) and look both ways; standardised; linear heads for `decision.HEADS` and the kind. `scripts/train_guard.py` makes `rules/listener.npz`.
The file is read at once (damage closes the guard); torch and the base, half a gigabyte, are loaded at the first text, once. Where they
are missing `hear` answers None, `why` keeps the reason, and stderr says so once: the rules and the linear classifier go on.
"""

from __future__ import annotations

import hashlib
import io
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .decision import HEADS, Trust
from .lexicon import KINDS

Floats = npt.NDArray[np.float32]
MAX_TOKENS = 160
"""Read at once; of a longer text the last windows of so many tokens, which bounds the time."""
BATCH_TOKENS = 1024
PADDED_TO = 8
"""Batches are padded to multiples of this length: the matrix library keeps code and buffers for every shape it has met."""
MODULES = (
    *(f"self_attn.{n}_proj" for n in ("q", "k", "v", "o")),
    *(f"mlp.{n}_proj" for n in ("gate", "up", "down")),
)
"""The linear layers of a decoder layer that an update may change."""
REMEMBERED = 4096
"""Answers kept, by a digest of the text and never the text: the earlier messages of a talk are not read anew at each turn."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model hears in one text: log odds by HEADS, and the likeliest kind of danger."""

    odds: tuple[float, ...]
    kind: str

    def worse(self, other: Heard) -> Heard:
        """The greater log odds of two windows of a text, and the kind of the one that is more of a crisis."""
        kind = max(self, other, key=lambda h: h.odds[1]).kind
        return Heard(tuple(map(max, self.odds, other.odds)), kind)


@dataclass
class Listener:
    """The trained head, and the base once a text has come.

    Attributes:
        layers: the hidden states after so many decoder layers are pooled. both_ways: the layers above so many see the whole text at each token.
        updates: "layers.I.MODULE" -> (down (r, in), up (out, r)); up @ down is added to that weight.
        mean, scale: (d,), d = 3 · 640 · len(layers): standardise the features. heads: (3 + kinds, d). bias: (3 + kinds,).
        mix: (2, 6): log odds of risk and crisis from these heads' and the linear classifier's.
        trust: in the rules beside the mixed log odds.
        why: empty, or why the base cannot be used here.
    """

    layers: tuple[int, ...]
    both_ways: int
    updates: dict[str, tuple[Floats, Floats]]
    mean: Floats
    scale: Floats
    heads: Floats
    bias: Floats
    mix: Floats
    trust: Trust
    why: str = ""
    _base: tuple[Any, Any] | None = field(default=None, repr=False)
    _known: OrderedDict[bytes, Heard] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def load(cls, path: Path) -> Listener:
        """Read the shipped file; numpy only.

        Raises:
            OSError, ValueError, KeyError, TypeError: missing or damaged.
        """
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            parts = [file[k].astype(np.float32) for k in ("mean", "scale", "heads", "bias", "mix")]
            layers, trust = tuple(file["layers"].tolist()), Trust.of(file["trust"])
            both_ways = int(file["both_ways"])
            names = [f.removesuffix(".down") for f in file.files if f.endswith(".down")]
            updates = {n: (file[f"{n}.down"].astype(np.float32), file[f"{n}.up"].astype(np.float32)) for n in names}
        mean, scale, heads, bias, mix = parts
        outputs = len(HEADS) + len(KINDS)
        if heads.shape != (outputs, len(mean)) or scale.shape != mean.shape or mix.shape != (2, 2 * len(HEADS)):
            raise ValueError(f"heads of shape {heads.shape}, expected {(outputs, len(mean))}")
        every = [*parts, *(f for pair in updates.values() for f in pair)]
        if not all(np.isfinite(a).all() for a in every) or not (scale > 0).all():
            raise ValueError("heads are not finite")
        return cls(layers, both_ways, updates, mean, scale, heads, bias, mix, trust)

    def hear(self, texts: Sequence[str], windows: int = 1, size: int = MAX_TOKENS) -> list[Heard] | None:
        """Read texts, in batches of like length; None where the base cannot be loaded.

        Args:
            texts: messages, or ends of talks with a line a message, as the client wrote them.
            windows: of a text longer than `size` tokens, how many windows of that length are read, from the end; the worst counts.
        """
        with self._lock:
            if not self._ready():
                return None
            keys = [hashlib.sha256(f"{windows}:{size}:{t}".encode("utf-8", "surrogatepass")).digest() for t in texts]
            new = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._known}
            found = {k: self._known[k] for k in keys if k not in new}
            for key, read in zip(new, self.read(list(new.values()), windows, size) or [], strict=True):
                n = len(HEADS)
                for row in read @ self.heads.T + self.bias:
                    heard = Heard(tuple(row[:n].tolist()), KINDS[int(row[n:].argmax())])
                    found[key] = heard.worse(found.get(key, heard))
            self._known.update(found)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return [found[k] for k in keys]

    def read(self, texts: Sequence[str], windows: int = 1, size: int = MAX_TOKENS) -> list[Floats] | None:
        """Standardised features of each text's windows, (windows, d); None where the base cannot be loaded. Arguments as `hear`'s."""
        with self._lock:
            if not self._ready():
                return None
            tokenizer, model = self._loaded
            parts = [token_windows(tokenizer, text, windows, size) for text in texts]
            if not parts:
                return []
            flat = features(model, [part for of_text in parts for part in of_text], self.layers, self.both_ways)
            ends = np.cumsum([len(of_text) for of_text in parts])[:-1]
            return np.split((flat - self.mean) / self.scale, ends)

    def within(self, text: str, size: int = MAX_TOKENS) -> bool:
        """Whether `hear`, with one window of `size` tokens, reads all of a text; the base must have been loaded by it."""
        return len(self._loaded[0](text, add_special_tokens=False, split_special_tokens=True)["input_ids"]) <= size

    @property
    def _loaded(self) -> tuple[Any, Any]:
        assert self._base is not None
        return self._base

    def _ready(self) -> bool:
        if self._base is None and not self.why:
            try:
                tokenizer, model = load_base(max(self.layers))
                fold(model, self.updates)
                self._base = tokenizer, model
            except Exception as err:  # no torch, no base, no memory: the always-on layers go on alone
                self.why = " ".join(str(err).split())[:160] or type(err).__name__
                print(f"guard: the model-based layer is off; rules and classifier go on: {self.why}", file=sys.stderr)
        return self._base is not None


def load_base(depth: int) -> tuple[Any, Any]:
    """(tokenizer, decoder of the embedded base cut to its first `depth` layers), on the CPU.

    Raises:
        ModelError, ImportError, OSError: the base or torch is not there.
    """
    from ..models.load import STARTER, load_model, load_tokenizer

    model: Any = load_model(STARTER, device="cpu").model
    del model.layers[depth:]
    return load_tokenizer(STARTER), model


def fold(model: Any, updates: dict[str, tuple[Floats, Floats]]) -> None:
    """Add each update to its weight."""
    import torch

    with torch.no_grad():
        for name, (down, up) in updates.items():
            weight = model.get_submodule(name).weight
            weight += torch.from_numpy(up @ down).to(weight.dtype)


def features(model: Any, ids: Sequence[Sequence[int]], layers: Sequence[int], both_ways: int) -> Floats:
    """(n, 3 · hidden size · len(layers)) of tokenised texts; see `pool`."""
    import torch

    out: list[Any] = [None] * len(ids)
    with torch.inference_mode():
        for batch in batches([len(i) for i in ids]):
            lengths = [len(ids[i]) for i in batch]
            padded = torch.zeros(len(batch), -(-max(lengths) // PADDED_TO) * PADDED_TO, dtype=torch.long)
            for row, i in zip(padded, batch, strict=True):
                row[: len(ids[i])] = torch.tensor(ids[i])
            states = run_layers(model, model.embed_tokens(padded), lengths, 0, layers, both_ways)
            for i, row in zip(batch, pool(states, lengths).numpy(), strict=True):
                out[i] = row
    return np.stack(out).astype(np.float32)


def run_layers(
    model: Any, hidden: Any, lengths: Sequence[int], first: int, layers: Sequence[int], both_ways: int
) -> list[Any]:
    """Hidden states after each of `layers`, from those (n, length, hidden size) after `first` layers.

    Texts are padded on the right. The first `both_ways` layers are causal and need no mask; in those above, every token of a text sees all of it.
    """
    import torch

    length = hidden.shape[1]
    positions = torch.arange(length).unsqueeze(0)
    own = (positions < torch.tensor(lengths).unsqueeze(1))[:, None, None, :].expand(-1, 1, length, -1)
    kinds = model.config.layer_types
    rotary = {kind: model.rotary_emb(hidden, positions, kind) for kind in set(kinds)}
    out = [hidden] if first in layers else []
    for i in range(first, max(layers)):
        hidden = model.layers[i](
            hidden,
            position_embeddings=rotary[kinds[i]],
            attention_mask=own if i >= both_ways else None,
            position_ids=positions,
        )
        if i + 1 in layers:
            out.append(hidden)
    return out


def pool(states: Sequence[Any], lengths: Sequence[int]) -> Any:
    """(n, 3 · hidden size · len(states)): per layer the mean, the last and the maximum of a text's states, without `<bos>`."""
    import torch

    rows = []
    for n, length in enumerate(lengths):
        own = [s[n, 1:length].float() for s in states]
        rows.append(torch.cat([part for h in own for part in (h.mean(0), h[-1], h.amax(0))]))
    return torch.stack(rows)


def token_windows(tokenizer: Any, text: str, windows: int = 1, size: int = MAX_TOKENS) -> list[list[int]]:
    """The last `windows` windows of `size` tokens, each overlapping the one before by half, each after `<bos>`.

    Never empty, never fewer than two ids; special tokens in the text are plain text.
    """
    step = size // 2
    text = text[-16 * (size + (windows - 1) * step) :]
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] or [tokenizer.eos_token_id]
    ends = [len(ids) - i * step for i in range(windows)]
    parts = [ids[max(0, end - size) : end] for n, end in enumerate(ends) if n == 0 or end > step]
    return [[tokenizer.bos_token_id, *part] for part in parts]


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in groups of like length, each of at most BATCH_TOKENS padded tokens."""
    out: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if out[-1] and (len(out[-1]) + 1) * lengths[i] > BATCH_TOKENS:
            out.append([])
        out[-1].append(i)
    return [b for b in out if b]
