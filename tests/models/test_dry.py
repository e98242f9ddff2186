"""DRY ends loops, leaves text that does not repeat alone, and comes from the recipe of the model that answers."""

import sys
from pathlib import Path

import pytest
import torch

from hearmeglm.models import dry, sampling
from hearmeglm.models.generate import generate
from hearmeglm.recipe import Sampling, parse_recipe
from hearmeglm.run import RunDir

sys.path.insert(0, str(Path(__file__).parents[1]))
from train.tiny import make_base, make_run


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ([], {}),
        ([7], {}),
        ([1, 2, 3, 4, 1, 2], {}),  # two tokens match: too few
        ([1, 2, 3, 4, 1, 2, 3], {4: 3}),
        ([1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3], {4: 3, 5: 4}),  # the longest match of each next token
        ([8, 8, 8, 8], {8: 3}),
        ([5] * 100, {5: dry.LONGEST}),
    ],
)
def test_repeats(reply, found):
    assert dry.repeats(reply) == found


def test_the_penalty_grows_with_the_match():
    z = torch.zeros(10)
    reply = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]
    out = sampling.penalised(z, [], reply, Sampling(dry_multiplier=0.8))
    assert out[4] == pytest.approx(-0.8)
    assert out[5] == pytest.approx(-0.8 * dry.BASE)
    assert not out[[0, 1, 2, 3, 6, 7, 8, 9]].any()
    assert torch.equal(sampling.penalised(z, reply, [], Sampling(dry_multiplier=0.8)), z)  # the prompt may be taken up


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


def test_a_model_that_loops_stops_looping(base):
    from hearmeglm.models.load import load_model

    model = load_model(str(base), dtype="fp32", device="cpu")
    prompts = [[5, 9, 40], [77, 30, 12, 8], [200, 201]]
    plain = generate(model, prompts, Sampling(max_new_tokens=120), stop_ids=[1])
    dried = generate(model, prompts, Sampling(max_new_tokens=120, dry_multiplier=0.8), stop_ids=[1])
    assert max(longest_repeat(r.ids) for r in plain) > 60  # a random model loops, or this test shows nothing
    assert max(longest_repeat(r.ids) for r in dried) < 12


def longest_repeat(ids):
    """Tokens of the longest stretch that stands in `ids` twice."""
    best = 0
    for i in range(len(ids)):
        for j in range(i + 1, len(ids)):
            n = 0
            while j + n < len(ids) and ids[i + n] == ids[j + n]:
                n += 1
            best = max(best, n)
    return best


def test_a_model_answers_with_the_multiplier_of_its_recipe(base, tmp_path):
    from hearmeglm.chat.transformers_model import TransformersModel
    from hearmeglm.evals.asking import subjects
    from hearmeglm.models.reference import resolve
    from hearmeglm.types import Message

    recipe, _ = make_run(tmp_path / "plain", base)
    run = RunDir.create(
        tmp_path / "run", parse_recipe({**recipe.model_dump(), "evaluation": {"sampling": {"dry_multiplier": 0.8}}})
    )
    ref = resolve(f"{run.path}:base")
    assert ref.dry_multiplier == 0.8
    model = TransformersModel.load(ref, dtype="fp32", device="cpu")

    def text(**given):
        return "".join(c.text for c in model.stream([Message("user", "hi")], Sampling(max_new_tokens=80, **given)))

    assert text() == text(dry_multiplier=0.8) != text(dry_multiplier=0)
    talk = [("one", [Message("user", "hi")])]
    (subject,) = subjects(str(run.path), ["base"])
    (own,) = subject.answer(talk, Sampling(max_new_tokens=80)).replies
    (off,) = subject.answer(talk, Sampling(max_new_tokens=80, dry_multiplier=0)).replies
    assert own != off


def test_the_shipped_jerry_does_not_repeat_himself():
    from hearmeglm.models.reference import resolve

    assert resolve("jerry-270m").dry_multiplier > 0
