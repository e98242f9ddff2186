"""The mean of two fits of the guard's base (`scripts/mean_listeners.py`)."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "mean_listeners.py"
SPEC = importlib.util.spec_from_file_location("mean_listeners", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
SCRIPTED = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SCRIPTED)


def _fit(seed: int, layers: tuple[int, ...] = (6, 9, 12)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "layers": np.array(layers),
        "both_ways": np.array(6),
        "mean": rng.normal(size=5),
        "scale": rng.uniform(0.5, 2.0, size=5),
        "heads": rng.normal(size=(3, 5)).astype(np.float16),
        "bias": rng.normal(size=3),
        "layers.0.mlp.up_proj.down": rng.normal(size=(2, 4)).astype(np.float16),
        "layers.0.mlp.up_proj.up": rng.normal(size=(6, 2)).astype(np.float16),
    }


def test_updates_and_log_odds_are_the_means_of_both() -> None:
    one, two = _fit(1), _fit(2)
    mean = SCRIPTED.mean_of(one, two)
    name = "layers.0.mlp.up_proj"

    def update(parts: dict[str, np.ndarray]) -> np.ndarray:
        return parts[f"{name}.up"].astype(float) @ parts[f"{name}.down"].astype(float)

    def odds(parts: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
        return (features - parts["mean"]) / parts["scale"] @ parts["heads"].astype(float).T + parts["bias"]

    features = np.random.default_rng(3).normal(size=(7, 5))
    assert mean[f"{name}.down"].shape == (4, 4)
    assert update(mean) == pytest.approx((update(one) + update(two)) / 2, abs=0.01)
    assert odds(mean, features) == pytest.approx((odds(one, features) + odds(two, features)) / 2, abs=0.02)


def test_fits_that_read_other_layers_have_no_mean() -> None:
    with pytest.raises(SystemExit, match="same layers"):
        SCRIPTED.mean_of(_fit(1), _fit(2, (6, 9)))


def test_a_trimmed_mean_is_the_nearest_of_its_rank() -> None:
    mean = SCRIPTED.mean_of(_fit(1), _fit(2))
    name = "layers.0.mlp.up_proj"
    whole = mean[f"{name}.up"].astype(float) @ mean[f"{name}.down"].astype(float)
    left, values, right = np.linalg.svd(whole)
    for rank in (2, 4):
        parts = SCRIPTED.trimmed(mean, rank)
        assert parts[f"{name}.down"].shape == (rank, whole.shape[1])
        nearest = left[:, :rank] * values[:rank] @ right[:rank]
        found = parts[f"{name}.up"].astype(float) @ parts[f"{name}.down"].astype(float)
        np.testing.assert_allclose(found, nearest, atol=5e-3)
        np.testing.assert_array_equal(parts["heads"], mean["heads"])
