"""The mean of two fits of the guard's base: python scripts/mean_listeners.py FIT FIT --out FOLDER [--rank 16]

FIT is a `fit.npz` that `train_guard.py` keeps, or a `listener.npz`. Averaging the weights of fits from one start is as good as asking both
(Wortsman et al. 2022, arXiv:2203.05482). The updates are added up factor by factor, so their rank is the sum of both ranks; at run time
they are folded into the base and cost nothing; `--rank` keeps the weightiest directions of each, for a smaller file.
`train_guard.py --base FOLDER` then learns the decision for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

SHARED = ("layers", "both_ways")


def mean_of(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parts whose updates, and whose heads on features standardised as `two`'s are, are the means of both.

    Raises:
        SystemExit: they read the base in different ways.
    """
    if any(not np.array_equal(one[name], two[name]) for name in SHARED):
        raise SystemExit("expected two fits that read the same layers the same way")
    out = {name: two[name] for name in (*SHARED, "mean", "scale")}
    for name in (key.removesuffix(".down") for key in two if key.endswith(".down")):
        out[f"{name}.down"] = np.concatenate([one[f"{name}.down"], two[f"{name}.down"]])
        ups = [part[f"{name}.up"].astype(np.float32) / 2 for part in (one, two)]
        out[f"{name}.up"] = np.concatenate(ups, axis=1).astype(np.float16)
    plain = [part["heads"].astype(np.float32) / part["scale"] for part in (one, two)]
    bias = [part["bias"] - heads @ part["mean"] for part, heads in zip((one, two), plain, strict=True)]
    heads = (plain[0] + plain[1]) / 2
    out["heads"] = (heads * two["scale"]).astype(np.float16)
    out["bias"] = ((bias[0] + bias[1]) / 2 + heads @ two["mean"]).astype(np.float32)
    return out


def trimmed(parts: dict[str, np.ndarray], rank: int) -> dict[str, np.ndarray]:
    """The nearest updates (least squares) of at most `rank`: of the singular vectors of up @ down those with the greatest values."""
    out = dict(parts)
    for name in (key.removesuffix(".down") for key in parts if key.endswith(".down")):
        (q, r), (p, s) = (
            np.linalg.qr(part.astype(np.float32)) for part in (parts[f"{name}.up"], parts[f"{name}.down"].T)
        )
        left, values, right = np.linalg.svd(r @ s.T)
        root = np.sqrt(values[:rank])
        out[f"{name}.up"] = (q @ left[:, :rank] * root).astype(np.float16)
        out[f"{name}.down"] = ((p @ right[:rank].T) * root).T.astype(np.float16)
    return out


def main() -> None:
    """Read two, write one."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("fits", type=Path, nargs=2)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--rank", type=int, help="keep updates of this rank at most")
    opt = args.parse_args()
    opt.out.mkdir(parents=True, exist_ok=True)
    one, two = (dict(np.load(path)) for path in opt.fits)
    mean = mean_of(one, two)
    np.savez(opt.out / "part.npz", **(trimmed(mean, opt.rank) if opt.rank else mean))
    (opt.out / "part.npz").replace(opt.out / "fit.npz")


if __name__ == "__main__":
    main()
