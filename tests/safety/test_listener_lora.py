"""A fit of the guard's base that goes on from another (`scripts/listener_lora.py`)."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hearmeglm.safety.listener import MODULES

SCRIPT = Path(__file__).parents[2] / "scripts" / "listener_lora.py"
SPEC = importlib.util.spec_from_file_location("listener_lora", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
SCRIPTED = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = SCRIPTED  # its dataclass looks itself up
SPEC.loader.exec_module(SCRIPTED)
RANK, WIDTH, FEATURES = 5, 6, 7


class Base(nn.Module):
    """Linear layers under the names that the base's have."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(max(SCRIPTED.LAYERS)):
            layer = nn.Module()
            for name in MODULES:
                part = layer
                *path, last = name.split(".")
                for step in path:
                    if not hasattr(part, step):
                        part.add_module(step, nn.Module())
                    part = getattr(part, step)
                part.add_module(last, nn.Linear(WIDTH, WIDTH, bias=False))
            self.layers.append(layer)


def _fit() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    outputs = len(SCRIPTED.HEADS) + len(SCRIPTED.KINDS)
    out: dict[str, Any] = {
        "layers": np.array(SCRIPTED.LAYERS),
        "both_ways": np.array(SCRIPTED.BOTH_WAYS),
        "mean": rng.normal(size=FEATURES).astype(np.float32),
        "scale": rng.uniform(0.5, 2, size=FEATURES).astype(np.float32),
        "heads": rng.normal(size=(outputs, FEATURES)).astype(np.float16),
        "bias": rng.normal(size=outputs).astype(np.float32),
    }
    for i in range(max(SCRIPTED.LAYERS)):
        for name in MODULES:
            out[f"layers.{i}.{name}.down"] = rng.normal(size=(RANK, WIDTH)).astype(np.float16)
            out[f"layers.{i}.{name}.up"] = rng.normal(size=(WIDTH, RANK)).astype(np.float16)
    return out


def test_a_fit_goes_on_where_another_ended() -> None:
    start, base = _fit(), Base()
    x = torch.ones(WIDTH)
    before = base.layers[3].get_submodule(MODULES[0])(x)
    net = SCRIPTED.Net(base, [], start)
    found = net.parts()
    assert found.keys() == start.keys()
    for name, value in start.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    name = f"layers.3.{MODULES[0]}"
    update = start[f"{name}.up"].astype(np.float32) @ start[f"{name}.down"].astype(np.float32)
    after = net.updated.get_base_model().get_submodule(name)(x)
    np.testing.assert_allclose((after - before).detach().numpy(), update @ np.ones(WIDTH), rtol=1e-4)
