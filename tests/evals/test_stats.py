"""The statistics, against scipy, scikit-learn and krippendorff on known data."""

import json
import random

import numpy as np
import pytest
from typer.testing import CliRunner

from hearmeglm.cli import app
from hearmeglm.errors import RunError
from hearmeglm.evals import compare as c
from hearmeglm.evals import stats as s
from hearmeglm.evals.evaluate import evaluate
from hearmeglm.evals.judge.agreement import agreement, alpha, spearman, weighted_kappa
from hearmeglm.evals.judge.scoring import Verdict
from hearmeglm.run import RunDir


def test_unclustered_bootstrap_equals_scipys():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).normal(3, 2, 200)
    mine = s.bootstrap(values, range(200), resamples=9999)
    theirs = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(2)
    ).confidence_interval
    assert mine.mean == pytest.approx(values.mean())
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(3)
    talk = np.repeat(rng.normal(0, 1, 30), 10)
    clustered = s.bootstrap(talk, np.repeat(range(30), 10))
    naive = s.bootstrap(talk, range(300))
    assert clustered.clusters == 30
    assert (clustered.high - clustered.low) > 2.5 * (naive.high - naive.low)


def test_permutation_equals_scipys():
    from scipy.stats import permutation_test

    d = np.random.default_rng(4).normal(0.3, 1, 11)
    theirs = permutation_test(
        (d, np.zeros(11)), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert s.permutation_p(d, range(11)) == pytest.approx(theirs.pvalue)
    many = np.random.default_rng(5).normal(0.25, 1, 80)
    theirs = permutation_test(
        (many, np.zeros(80)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        rng=np.random.default_rng(6),
    )
    assert s.permutation_p(many, range(80), resamples=20000) == pytest.approx(theirs.pvalue, abs=0.01)
    assert s.permutation_p([1.0] * 20, [0] * 20) == 1.0  # one dialogue proves nothing


def test_permutation_is_level():
    rng = np.random.default_rng(7)
    ps = [s.permutation_p(rng.normal(0, 1, 40), np.repeat(range(10), 4)) for _ in range(200)]
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.1


def test_holm_by_hand():
    assert s.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert s.holm([]) == []
    assert s.holm([0.6, 0.7]) == [1.0, 1.0]


def test_effect_size_and_wins():
    from scipy.stats import ttest_1samp

    d = [1.0, 2.0, 0.5, -0.5, 3.0]
    assert s.cohens_dz(d) == pytest.approx(ttest_1samp(d, 0).statistic / np.sqrt(5))
    assert s.cohens_dz([1.0, 1.0]) is None
    assert s.wins([1, 0, -2, 3]) == (2, 1, 1)
    assert s.bootstrap([], []) is None


def test_weighted_kappa_equals_scikit_learns():
    from sklearn.metrics import cohen_kappa_score

    rng = random.Random(8)
    a = [float(rng.randrange(4)) for _ in range(200)]
    b = [x if rng.random() < 0.6 else float(rng.randrange(4)) for x in a]
    assert weighted_kappa(a, b, [0, 1, 2, 3]) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"))
    assert weighted_kappa([1.0], [1.0], [1.0]) is None


def test_alpha_equals_the_published_example():
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve units
    gap = None
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, gap, gap, gap],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gap, 3],
        [gap, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gap],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gap],
    ]
    assert alpha(data, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert alpha(data, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert alpha(data, "interval") == pytest.approx(0.849, abs=5e-4)
    assert alpha([[1, 1], [1, 1]]) is None
    assert alpha([[1, 2]]) is None


def test_agreement_of_judges_samples_and_length():
    verdicts = []
    for n in range(30):
        points = n % 3
        for judge, shift in (("a", 0), ("b", 0), ("noise", n // 3)):
            for sample in (0, 1):
                value = float((points + shift) % 3)
                cells = {"comprehensiveness": value, "professionalism": 1.0, "authenticity": 1.0, "safety": 1.0}
                verdicts.append(Verdict(f"i{n}", "d", "m", judge, sample, cells, "", "", 10 + points * 10))
    found = agreement(verdicts)["comprehensiveness"]
    assert found["kappa"]["a ~ b"] == 1.0
    assert found["kappa"]["a ~ noise"] < 0.3
    assert found["self_consistency"]["a"] == {"pairs": 30, "equal": 1.0}
    assert found["length_correlation"]["a"]["rho"] == pytest.approx(1.0)
    assert spearman([1, 2], [1, 2]) is None


@pytest.fixture(scope="module")
def evaluated(tiny_run):
    recipe, run = tiny_run
    evaluate(recipe, run)
    return run


def test_comparison_is_paired_clustered_and_corrected(evaluated):
    found = c.compare([evaluated])
    assert found["models"] == ["base", "base-prompted", "stage1", "stage2"]
    row = next(r for r in found["pairs"] if r["metric"] == "loss" and r["after"] == "stage2" and r["before"] == "base")
    board = c.read_board([evaluated])
    a, b = board.values["base", "loss"], board.values["stage2", "loss"]
    assert row["difference"] == pytest.approx(np.mean([b[i] - a[i] for i in a]))
    assert row["n"] == 12
    assert row["dialogues"] == 6
    assert row["wins"] + row["ties"] + row["losses"] == 12
    assert row["wins"] == sum(b[i] < a[i] for i in a)  # a lower loss is a win
    assert all(r["p_holm"] >= r["p"] for r in found["pairs"])
    assert {(r["before"], r["after"]) for r in found["pairs"]} >= {("base", "stage2"), ("stage1", "stage2")}
    assert found["by_language"]["en"]["bleu-4"]["base"]["n"] == 12


def test_unscored_is_counted_and_left_out_of_both_sides():
    values = {("a", "m"): {"1": 1.0, "2": None, "3": 3.0}, ("b", "m"): {"1": 2.0, "2": 5.0, "3": None}}
    board = c.Board(values, {"1": "d1", "2": "d2", "3": "d3"}, {})
    row = c.paired(board, "m", "a", "b")
    assert (row["n"], row["unscored"], row["difference"]) == (1, 2, 1.0)
    assert c.describe(board, "m", "a")["unscored"] == 1
    assert c.paired(board, "absent", "a", "b") is None


def test_several_runs_stand_side_by_side(evaluated):
    found = c.compare([evaluated, evaluated], metrics=["bleu-4"])
    assert len(found["models"]) == 8
    same = next(r for r in found["pairs"] if r["before"] == "run-1:base" and r["after"] == "run-2:base")
    assert (same["difference"], same["p"], same["ties"]) == (0.0, 1.0, 12)


def test_command_lines(evaluated, tmp_path):
    run = CliRunner()
    done = run.invoke(app, ["compare", str(evaluated.path), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["pairs"]
    assert (evaluated.evals.path / "compare.png").read_bytes()[:4] == b"\x89PNG"
    assert "Holm" in run.invoke(app, ["compare", str(evaluated.path), "--metrics", "bleu-4"]).stdout
    shown = run.invoke(app, ["show", str(evaluated.path), "talks-200", "--json"])
    answers = json.loads(shown.stdout)["prompts"][0]["answers"]
    assert [a["model"] for a in answers] == ["base", "base-prompted", "stage1", "stage2"]
    assert answers[0]["scores"]["bleu-4"] is not None
    assert run.invoke(app, ["show", str(evaluated.path), "talks-200#0"]).exit_code == 0
    with pytest.raises(RunError, match="for example"):
        c.show(evaluated, "nothing")
    with pytest.raises(RunError, match="evaluated run"):
        c.compare([RunDir(tmp_path)])
