from collections.abc import Iterator, Sequence

import pytest

from hearmeglm.chat.guarded import CARE, GuardedModel, GuardEvent
from hearmeglm.chat.model import ChatModel, Chunk, complete
from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.errors import UserError
from hearmeglm.recipe import Sampling
from hearmeglm.safety import hotlines, output
from hearmeglm.safety.guard import Guard, guard
from hearmeglm.safety.replies import reply
from hearmeglm.types import Message

S = Sampling(max_new_tokens=2000)


def user(*texts: str) -> list[Message]:
    return [m for t in texts for m in (Message("user", t), Message("assistant", "嗯"))][:-1]


def say(model: ChatModel, *texts: str) -> str:
    return complete(model, user(*texts), S).text


class Spy(ScriptedModel):
    prompt: Sequence[Message] = ()
    started = False
    closed = False

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.prompt, self.started = messages, True
        try:
            yield from super().stream(messages, sampling)
        finally:
            self.closed = True


def test_an_everyday_reply_passes_unchanged_and_streams() -> None:
    model = GuardedModel(ScriptedModel(["你好呀。今天怎么样？想聊什么"]))
    assert isinstance(model, ChatModel)
    chunks = list(model.stream(user("你好"), S))
    assert [c.text for c in chunks if c.text] == ["你好呀。", "今天怎么样？", "想聊什么"]
    assert chunks[-1].finish_reason == "stop"
    assert sum(c.tokens for c in chunks) == 14
    assert model.name == "scripted+guard"


def test_a_crisis_is_answered_with_the_written_reply_of_the_region_without_the_model() -> None:
    spy = Spy(["哦。"])
    model = GuardedModel(spy, "HK")
    text = say(model, "我想自杀")
    assert text == reply("suicide", "HK", "zh").strip()
    assert "18111" in text
    assert not spy.started
    assert model.last is not None
    assert model.last.intervened == "written"


def test_english_is_answered_in_english() -> None:
    assert "988" in say(GuardedModel(ScriptedModel(["ok"]), "US"), "I want to kill myself")


def test_in_an_elevated_state_the_model_keeps_listening_with_care_and_the_numbers() -> None:
    spy = Spy(["我在听，你慢慢说。"])
    text = say(GuardedModel(spy), "我想自杀", "谢谢你陪我")
    assert text.startswith("我在听")
    assert "12356" in text
    assert spy.prompt[0] == Message("system", CARE["zh"])


def test_in_an_elevated_state_a_bad_reply_is_never_shown() -> None:
    model = GuardedModel(ScriptedModel(["我在。你可以试试割腕。"]))
    text = say(model, "我想自杀", "还是难受")
    assert "割腕" not in text
    assert model.last is not None
    assert model.last.intervened == "replaced"
    assert model.last.problems[0].reason == "method"


@pytest.mark.parametrize(
    "bad", ["请打电话 400-123-4567。", "你得了抑郁症。", "我不是AI。", "I'm a licensed therapist."]
)
def test_a_bad_sentence_is_replaced_and_the_model_is_stopped(bad: str) -> None:
    spy = Spy([f"你好。{bad}后面还有很多很多话。"])
    text = complete(GuardedModel(spy), user("你好"), S).text
    assert text.startswith("你好。")
    assert bad not in text
    assert "后面" not in text
    assert spy.closed


def test_closing_the_stream_cancels_the_model() -> None:
    spy = Spy(["一句。两句。三句。"])
    chunks = GuardedModel(spy).stream(user("你好"), S)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert spy.closed


def test_without_a_session_talks_do_not_touch_each_other() -> None:
    model = GuardedModel(ScriptedModel(["好的。"]))
    assert "12356" in say(model, "我想自杀")
    assert say(model, "今天吃什么") == "好的。"


def test_a_session_remembers_when_the_history_was_trimmed() -> None:
    model = GuardedModel(ScriptedModel(["好的。"]), session=guard().session())
    say(model, "我想自杀")
    assert "12356" in say(model, "今天吃什么")
    saved = model.session.to_json() if model.session else {}
    restarted = GuardedModel(ScriptedModel(["好的。"]), session=guard().session(saved))
    assert "12356" in say(restarted, "今天吃什么")


def test_a_broken_guard_fails_closed() -> None:
    broken = Guard(broken="zh.yaml: damaged")
    model = GuardedModel(ScriptedModel(["你可以试试割腕。"]), the_guard=broken)
    assert say(model, "你好") == reply("unknown", "CN", "zh").strip()
    assert model.last is not None
    assert model.last.assessment.closed


def test_a_broken_check_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_rules", lambda path=None: "output.yaml: damaged")
    model = GuardedModel(ScriptedModel(["你好。"]))
    assert say(model, "你好") == reply("safer", "CN", "zh").strip()


def test_events_hold_no_words_of_the_client() -> None:
    events: list[GuardEvent] = []
    say(GuardedModel(ScriptedModel(["好。"]), on_event=events.append), "今天吃什么")
    assert len(events) == 1
    assert "今天" not in str(events[0])


def test_the_region_must_exist() -> None:
    with pytest.raises(UserError):
        GuardedModel(ScriptedModel(["a"]), "XX")
    assert "CN" in hotlines.regions()
