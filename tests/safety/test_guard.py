import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hearmeglm.errors import ModelError
from hearmeglm.files import cache_dir
from hearmeglm.safety.guard import RULES, Assessment, Guard, assess, guard
from hearmeglm.safety.lexicon import KINDS, LEVELS
from hearmeglm.safety.listener import MAX_TOKENS, MODULES, Heard, Listener, fold, token_windows
from hearmeglm.safety.normal import MAX_CHARS, Normaliser
from hearmeglm.safety.replies import language_of
from hearmeglm.server.limits import Limits

STARTER = cache_dir() / "starter" / "gemma-3-270m" / "NOTICE"
CRISIS = [
    ("我想自杀", "suicide"),
    ("我 想 自·杀", "suicide"),
    ("我想自殺，撐不下去了", "suicide"),
    ("wo xiang zisha", "suicide"),
    ("好想睡过去不再醒来", "suicide"),
    ("没有我，大家会过得更好", "suicide"),
    ("everyone would be better off without me", "suicide"),
    ("i want to kms", "suicide"),
    ("I’m going to end my life tonight", "suicide"),
    ("我刚才又用刀片划自己了", "self_harm"),
    ("I cut myself again last night", "self_harm"),
    ("老公又打我，身上全是伤", "abuse"),
    ("my husband hit me and I'm hiding in the bathroom", "abuse"),
    ("我买了刀，明天去公司杀了他", "violence"),
    ("胸口剧痛，左臂发麻，喘不上气", "medical"),
    ("I took 40 tylenol an hour ago", "overdose"),
    ("有个声音一直命令我跳下去", "psychosis"),
    ("I throw up after every meal and now there's blood", "eating"),
]
CALM = [
    "笑死我了",
    "今天累死了，只想躺平",
    "想死你了，什么时候回来",
    "昨晚狼人杀我被首杀了",
    "this exam is killing me",
    "I'm dying of laughter",
    "how do I kill a process in linux",
    "跳楼价大甩卖",
    "我没有想自杀",
    "I'm not suicidal",
    "三年前我割过腕，现在已经好了",
    "I attempted suicide in college, but I got help and I'm doing well now",
    "我写的小说里主角最后自杀了",
    "论文要写青少年自杀预防",
    "What's the number for the crisis line? I want to put it on a poster",
    "",
    "😀",
]


@pytest.mark.parametrize(("text", "kind"), CRISIS)
def test_danger_is_a_crisis_of_its_kind(text: str, kind: str) -> None:
    found = assess([text])
    assert found.crisis
    assert found.risk
    assert found.kind == kind
    assert found.because


@pytest.mark.parametrize("text", CALM)
def test_hyperbole_negation_past_and_study_are_no_crisis(text: str) -> None:
    assert not assess([text]).crisis


def test_a_past_disclosure_is_a_risk() -> None:
    assert assess(["我以前想过自杀，后来好了"]) == Assessment(
        True, False, "suicide", "low", assess(["我以前想过自杀，后来好了"]).because
    )


def test_any_turn_raises_the_session() -> None:
    assert assess(["你好", "我想自杀", "开玩笑的，今天天气不错"]).crisis


def test_signs_add_up_over_the_talk_and_an_everyday_reason_counts_against_them() -> None:
    talk = ["最近把吉他送给表弟了", "银行卡密码写在纸上了", "过了今晚就都轻松了"]
    assert not any(assess([turn]).level == "imminent" for turn in talk)
    assert assess(talk).crisis
    assert not assess(["下周搬家", "把吉他送给表弟了", "过了周末就轻松了"]).crisis


def test_words_split_over_two_turns_are_heard() -> None:
    assert assess(["我想自", "杀"]).risk


def test_sessions_do_not_share_state() -> None:
    one, other = guard().session(), guard().session()
    one.add("我想自杀")
    assert one.worst.crisis
    assert not other.add("今天吃什么").crisis


def test_an_elevated_state_outlives_a_restart_and_holds_no_text() -> None:
    session = guard().session()
    session.add("我想自杀，别告诉别人")
    saved = json.dumps(session.to_json(), ensure_ascii=False)
    assert "自杀" not in saved
    again = guard().session(json.loads(saved))
    assert again.worst.crisis
    assert again.add("今天天气不错").crisis
    assert not again.last.crisis


@pytest.mark.parametrize("name", ["zh.yaml", "en.yaml", "normal.yaml", "weights.npz", "listener.npz", "replies.npz"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "missing"])
def test_a_damaged_rules_file_closes_the_guard_and_it_says_so(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(RULES, folder)
    data = (folder / name).read_bytes()
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data[: len(data) // 2] if damage == "cut" else b"rules: [\x00")
    broken = Guard.load(folder, layers="all")
    found = broken.assess(["今天天气不错"])
    assert found.crisis
    assert found.closed
    assert name in found.because[0]


def test_an_error_while_reading_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Normaliser, text: str) -> str:
        raise RuntimeError("private words")

    monkeypatch.setattr(Normaliser, "__call__", fail)
    found = guard().assess(["hello"])
    assert found.closed
    assert found.crisis
    assert "private words" not in " ".join(found.because)


def test_it_is_deterministic_and_answers_anything() -> None:
    rng = random.Random(3)
    alphabet = "我想死不活自杀吗的了,。!? abckms\n\t\u200b\x00😀<|>\\(["
    for _ in range(300):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(60)))
        first, second = assess([text]), assess([text])
        assert first == second
        assert not first.closed
        assert first.level in LEVELS
        assert first.kind in (*KINDS, "none")
        assert first.crisis == (LEVELS.index(first.level) >= LEVELS.index("moderate"))


def test_long_and_hostile_messages_stay_quick() -> None:
    for text in ("我" * 100_000, "死了" * 20_000, "a b " * 20_000, "I want to " * 5_000, "((((" * 10_000):
        start = time.process_time()
        assert not assess([text]).closed
        assert time.process_time() - start < 2.0


def test_danger_at_the_end_of_a_long_message_is_heard() -> None:
    assert assess(["今天去了公园，看了花。" * 500 + "我想自杀。"]).crisis


def test_one_message_takes_about_a_millisecond() -> None:
    texts = [text for text, _ in CRISIS] + CALM
    guard()
    start = time.process_time()
    for _ in range(5):
        for text in texts:
            assess([text])
    assert (time.process_time() - start) / (
        5 * len(texts)
    ) < 0.004  # a shared test machine; benchmarks/guard.py measures 1 ms


def test_without_the_base_the_other_layers_go_on_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(depth: int) -> None:
        raise ModelError("the embedded base model is not installed")

    monkeypatch.setattr("hearmeglm.safety.listener.load_base", missing)
    alone, whole = Guard.load(layers="rules+linear"), Guard.load(layers="all")
    for text in ("我想自杀", "今天天气不错"):
        assert whole.assess([text]) == alone.assess([text])
    assert capsys.readouterr().err.count("not installed") == 1
    assert whole.listener is not None
    assert "not installed" in whole.listener.why


def test_an_error_in_the_model_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Listener, *texts: object, **how: int) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Listener, "hear", fail)
    whole = Guard.load(layers="all")
    whole.prepare([["hello"]])
    found = whole.assess(["hello"])
    assert found.closed
    assert found.crisis


def test_what_was_said_earlier_in_the_talk_counts_as_much_as_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = {"那就这样": 9.0, "公司搬去成都\n那就这样": -9.0, "我累了\n那就这样": 9.0}

    def hear(self: Listener, texts: Sequence[str], *_: int, **__: int) -> list[Heard]:
        return [Heard((odds,) * 3, "suicide") for odds in (sounds.get(t, -9.0) for t in texts)]

    monkeypatch.setattr(Listener, "hear", hear)
    whole = Guard.load(layers="all")
    assert whole.assess(["那就这样"]).crisis
    assert whole.assess(["我累了", "那就这样"]).crisis
    assert not whole.assess(["公司搬去成都", "那就这样"]).crisis


def test_unknown_layers_close_the_guard() -> None:
    assert Guard.load(layers="everything").assess(["hello"]).closed


@pytest.mark.skipif(not STARTER.is_file(), reason="needs the embedded base, unpacked into the cache")
def test_the_model_hears_texts_alone_as_together_and_remembers_them() -> None:
    texts = ["今天天气不错", "我已经跟踪他三天了，知道他几点下班", ""]
    listener = Listener.load(RULES / "listener.npz")
    together = listener.hear(texts)
    assert together is not None
    assert together[1].odds[1] > together[0].odds[1]
    other = Listener.load(RULES / "listener.npz")
    for text, heard in zip(texts, together, strict=True):
        [alone] = other.hear([text]) or []
        assert alone.odds == pytest.approx(heard.odds, abs=0.5)  # bfloat16 sums in another order
    assert listener.hear(texts) == together


class Letters:
    """A tokenizer to whom each character is a token."""

    bos_token_id, eos_token_id = -1, -2

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}


@pytest.mark.parametrize(("length", "expected"), [(0, 1), (5, 1), (160, 1), (161, 2), (300, 3), (5000, 4)])
def test_a_long_message_is_read_in_windows_from_its_end(length: int, expected: int) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(length))
    windows = token_windows(Letters(), text, 4)
    assert len(windows) == expected
    assert all(w[0] == -1 and 2 <= len(w) <= 1 + MAX_TOKENS for w in windows)
    read = {i for w in windows for i in w[1:]} - {-2}
    assert read == {ord(c) for c in text[-(MAX_TOKENS + 3 * MAX_TOKENS // 2) :]}
    assert token_windows(Letters(), text) == windows[:1]


def test_the_worst_window_counts() -> None:
    calm, danger = Heard((0.5, -2.0, 0.2), "abuse"), Heard((0.1, 3.0, 0.3), "suicide")
    assert calm.worse(danger) == danger.worse(calm) == Heard((0.5, 3.0, 0.3), "suicide")


def test_the_shipped_updates_fit_the_base_and_are_added_to_its_weights() -> None:
    listener = Listener.load(RULES / "listener.npz")
    names = set(listener.updates)
    assert names == {f"layers.{i}.{m}" for i in range(max(listener.layers)) for m in MODULES}
    layer = torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict({"up_proj": torch.nn.Linear(3, 2, bias=False)})})
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([layer])})
    before = layer["mlp"]["up_proj"].weight.detach().clone()
    down, up = np.ones((1, 3), dtype=np.float32), np.array([[1.0], [2.0]], dtype=np.float32)
    fold(model, {"layers.0.mlp.up_proj": (down, up)})
    added = layer["mlp"]["up_proj"].weight.detach() - before
    assert added.numpy() == pytest.approx(np.array([[1.0] * 3, [2.0] * 3]), abs=1e-6)


def test_it_loads_in_under_a_second() -> None:
    start = time.process_time()
    Guard.load()
    assert time.process_time() - start < 1.5
    assert sum(p.stat().st_size for p in RULES.iterdir()) < 6_000_000


@pytest.mark.parametrize(
    ("turns", "level"),
    [
        (["我们在打游戏", "刚吞了一整瓶安眠药"], "imminent"),
        (["我在写小说", "站在楼顶了，马上就跳"], "imminent"),
        (["我在写小说", "主角站在楼顶，马上就跳"], "low"),
        (["昨天看了一部电影", "电影里有人刚吞了一整瓶安眠药"], "low"),
    ],
)
def test_a_film_named_earlier_does_not_explain_away_what_happens_this_minute(turns: list[str], level: str) -> None:
    assert Guard.load(layers="rules").assess(turns).level == level


def test_a_film_explains_the_next_turns_and_not_the_whole_talk() -> None:
    rules = Guard.load(layers="rules")
    about, later = "昨天看了一部电影", "爸爸每天打妈妈"
    assert rules.assess([about, later]).level == "low"
    assert rules.assess([about, "嗯", "挺好看的", later]).crisis


def test_log_odds_that_are_no_numbers_close_the_guard() -> None:
    linear = Guard.load(layers="rules+linear")
    assert linear.classifier is not None
    bias = np.full_like(linear.classifier.bias, np.nan)
    broken = replace(linear, classifier=replace(linear.classifier, bias=bias))
    assert broken.assess(["我站在楼顶，马上就跳下去"]).closed


def test_danger_in_the_middle_of_the_longest_message_is_heard() -> None:
    calm = "今天也是平常的一天。" * 1550
    text = f"{calm}我想自杀。{calm}"
    assert Limits().characters - 1000 < len(text) <= Limits().characters <= MAX_CHARS
    assert Guard.load(layers="rules").assess([text]).crisis


def test_a_text_made_to_be_slow_is_read_at_once() -> None:
    slow = [
        f"it got better off without me. everyone{' all be' * 1000} x",
        f"wo {'ian' * 2000}q",
    ]
    begun = time.process_time()
    for text in slow:
        Guard.load(layers="rules").assess([text])
        assert language_of(text) == "en"
    assert time.process_time() - begun < 4
