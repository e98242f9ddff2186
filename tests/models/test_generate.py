"""Fast generation gives what plain generation gives, whatever the batch, the order and the prefixes that are shared."""

import sys
from pathlib import Path

import pytest
import torch

from hearmeglm.errors import ModelError
from hearmeglm.models import sampling as s
from hearmeglm.models.generate import families, generate
from hearmeglm.models.packed_linear import packed_linears
from hearmeglm.recipe import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from train.tiny import make_base


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from hearmeglm.models.load import load_model

    return load_model(str(make_base(tmp_path_factory.mktemp("base"), layers=4)), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def prompts():
    draw = torch.Generator().manual_seed(1)
    whole = [torch.randint(6, 260, (n,), generator=draw).tolist() for n in (40, 7, 33, 12, 21)]
    return [*whole, whole[0][:10], whole[0][:25], whole[2][:33], whole[3][:1]]


def plain(model, prompt, sampling, stops):
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=0,
            repetition_penalty=sampling.repetition_penalty,
        )[0, len(prompt) :].tolist()
    return (out[:-1], "stop") if out[-1] in stops else (out, "length")


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_replies_equal_plain_generation(model, prompts, rows, penalty):
    stops = [1, *range(100, 130)]  # many, so that rows end at different times
    sampling = Sampling(max_new_tokens=30, repetition_penalty=penalty)
    got = generate(model, prompts, sampling, stop_ids=stops, rows=rows)
    assert [(g.ids, g.finish_reason) for g in got] == [plain(model, p, sampling, stops) for p in prompts]
    assert {g.finish_reason for g in got} == {"stop", "length"} or penalty != 1.0
    assert all(0 < g.first_token_s <= g.total_s for g in got)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    from hearmeglm.models.load import load_model

    return load_model(str(make_base(tmp_path_factory.mktemp("half"), layers=4)), dtype="bf16", device="cpu")


def padded_batches(model, prompts, size, most, stops):
    """Replies of transformers on left-padded batches in data order, each until its longest ends."""
    replies = []
    for batch in (prompts[i : i + size] for i in range(0, len(prompts), size)):
        width = max(map(len, batch))
        with torch.inference_mode():
            out = model.generate(
                torch.tensor([[0] * (width - len(p)) + p for p in batch]),
                attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch]),
                max_new_tokens=most,
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=0,
            )[:, width:].tolist()
        replies += [row[: next((i for i, t in enumerate(row) if t in stops), len(row))] for row in out]
    return replies


@pytest.mark.parametrize("rows", [2, 5, 64])
def test_padded_replies_equal_those_of_padded_batches_bit_for_bit(half, prompts, rows):
    many = [p for shift in range(6) for p in (prompts[shift:] + prompts[:shift])]
    stops = [1, *range(100, 116)]
    want = padded_batches(half, many, 4, 40, stops)
    got = generate(half, many, Sampling(max_new_tokens=40), stop_ids=stops, rows=rows, padded=4)
    assert [g.ids for g in got] == want
    assert len({len(w) for w in want}) > 3


def test_sampled_replies_depend_on_their_seed_and_not_on_the_batch(model, prompts):
    sampling = Sampling(temperature=1.0, top_p=0.9, top_k=50, max_new_tokens=12, seed=3)
    seeds = list(range(len(prompts)))
    one = generate(model, prompts, sampling, stop_ids=[1], rows=64, seeds=seeds)
    two = generate(model, prompts[::-1], sampling, stop_ids=[1], rows=2, seeds=seeds[::-1])
    assert [g.ids for g in one] == [g.ids for g in two[::-1]]
    other = generate(model, prompts, sampling.model_copy(update={"seed": 4}), stop_ids=[1], seeds=seeds)
    assert [g.ids for g in one] != [g.ids for g in other]


def test_a_stop_text_ends_a_reply_and_every_reply_is_reported_once(model, prompts):
    seen = {}
    got = generate(
        model,
        prompts,
        Sampling(max_new_tokens=9),
        stop_ids=[],
        ended=lambda ids: len(ids) == 4,
        on_reply=lambda at, reply: seen.setdefault(at, []).append(reply),
    )
    assert [len(g.ids) for g in got] == [4] * len(prompts)
    assert seen == {i: [g] for i, g in enumerate(got)}


def test_prompts_that_begin_one_another_share_a_pass():
    prompts = [[1, 2], [1, 2, 3, 4], [1, 2, 3], [9], [1, 2, 3, 4]]
    groups = families(prompts, 64)
    assert [sorted(g) for g in groups] == [[0, 1, 2, 4], [3]]
    assert all(prompts[g[0]][: len(prompts[i])] == prompts[i] for g in groups for i in g)
    assert sorted(i for g in families(prompts, 2) for i in g) == [0, 1, 2, 3, 4]
    assert max(map(len, families(prompts, 2))) == 2


def test_the_model_is_left_as_it_was(model, prompts):
    before = model.config._attn_implementation
    generate(model, prompts[:2], Sampling(max_new_tokens=2), stop_ids=[1])
    assert model.config._attn_implementation == before
    assert all("forward" not in m.__dict__ for m in model.modules())


def test_packed_weights_give_the_same_bits():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(64, 96, bias=True), torch.nn.Linear(96, 32, bias=False)).bfloat16()
    for rows in (1, 5, 64):
        x = torch.randn(rows, 3, 64).bfloat16()
        with torch.inference_mode():
            expected = layer(x)
            with packed_linears(layer, 8):
                assert torch.equal(layer(x), expected)


def test_argmax_takes_the_first_maximum():
    z = torch.randn(7, 4096).bfloat16()
    z[3, [5, 600, 4000]] = 99
    z[4] = 0
    assert torch.equal(s.argmax(z), z.float().argmax(-1))


def test_warp_equals_transformers():
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    z = torch.randn(300) * 3
    sampling = Sampling(temperature=0.7, top_k=40, top_p=0.8)
    expected = z[None]
    for step in (TemperatureLogitsWarper(0.7), TopKLogitsWarper(40), TopPLogitsWarper(0.8)):
        expected = step(None, expected)
    assert torch.allclose(s.warp(z, [], [], sampling), expected.softmax(-1)[0], atol=1e-6)


def test_prompts_that_cannot_be_answered_are_named(model):
    with pytest.raises(ModelError, match="prompt 1"):
        generate(model, [[5], []], Sampling(), stop_ids=[1])
    with pytest.raises(ModelError, match=r"within 512 tokens"):
        generate(model, [[5] * 500], Sampling(), stop_ids=[1])
    assert generate(model, [], Sampling(), stop_ids=[1]) == []
