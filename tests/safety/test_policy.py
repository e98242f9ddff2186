import json
import stat
from pathlib import Path

import pytest

from hearmeglm.errors import UserError
from hearmeglm.safety.guard import Assessment
from hearmeglm.safety.incidents import IncidentLog
from hearmeglm.safety.policy import CHECKLIST, DUTIES, Policy, duties, load_policy, may_open, shows_dependence, template


def signed(tmp_path: Path, **extra: object) -> Path:
    file = tmp_path / "policy.yaml"
    lines = [
        "responsible: {name: 李医生, contact: 办公室值班}",
        "checklist:",
        *(f"  {item}: {{by: 李医生, date: 2026-11-20}}" for item in CHECKLIST),
    ]
    file.write_text("\n".join([*lines, *(f"{k}: {json.dumps(v)}" for k, v in extra.items())]), encoding="utf-8")
    return file


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"])
def test_this_machine_needs_no_policy(host: str) -> None:
    assert may_open(host, None) == Policy()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", "::", "localhost.evil.org"])
def test_others_need_one(host: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="policy file"):
        may_open(host, None)
    assert may_open(host, signed(tmp_path)).responsible.name == "李医生"


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(template(), encoding="utf-8")
    with pytest.raises(UserError) as err:
        may_open("0.0.0.0", file)
    for word in ("responsible.name", "responsible.contact", *CHECKLIST):
        assert word in str(err.value)


def test_the_guard_cannot_be_off_when_open(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="crisis_protocol"):
        may_open("0.0.0.0", signed(tmp_path, crisis_protocol=False))


@pytest.mark.parametrize(
    "text",
    [
        "colour: red",
        "region: XX",
        "minors: true\ncompanion_roleplay: true",
        "notice_every_minutes: -1",
        "checklist: {other: {by: a, date: 2026-01-01}}",
        "[",
        "- a",
    ],
)
def test_a_wrong_policy_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        load_policy(file)


def test_the_template_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(template(), encoding="utf-8")
    assert load_policy(file) == Policy()


def test_each_duty_can_be_met_and_broken() -> None:
    best = Policy(responsible={"name": "a", "contact": "b"})
    assert all(d["met"] for d in duties(best))
    worst = Policy(
        notice_at_start=False,
        notice_every_minutes=0,
        break_every_minutes=0,
        dependence_reminder=False,
        crisis_protocol=False,
        store_sessions=True,
        retention_days=400,
    )
    assert not any(d["met"] for d in duties(worst))
    assert {
        word for d in DUTIES for word in ("China", "California", "New York", "Illinois", "EU") if word in d.rule
    } == {"China", "California", "New York", "Illinois", "EU"}


def test_notices_come_at_the_start_and_on_time() -> None:
    policy = Policy()
    assert "AI" in policy.due(minutes=0, since_notice=0)[0]
    assert policy.due(minutes=30, since_notice=30) == []
    assert any("AI" in n for n in policy.due(minutes=121, since_notice=121, since_break=0))
    assert len(policy.due(minutes=61, since_notice=61)) == 1
    assert len(Policy(minors=True).due(minutes=61, since_notice=61, since_break=1)) == 1


def test_dependence_is_noticed() -> None:
    assert shows_dependence("只有你懂我")
    assert shows_dependence("I can't live without you")
    for text in ("離不開你", "我愛你", "I can’t live without you", "you're the only one", "you are my best friend"):
        assert shows_dependence(text), text
    for text in ("我和朋友吃饭", "我喜欢你的建议", "我爱你们"):
        assert not shows_dependence(text), text
    assert Policy().due(minutes=5, since_notice=5, text="离不开你了", lang="en")


def test_first_use_says_what_is_stored_and_what_leaves() -> None:
    assert "不保存" in Policy().first_use("zh")
    assert "runs elsewhere" in Policy(remote_model=True).first_use("en")
    assert "{" not in Policy().first_use("en")


def test_incidents_are_opt_in_and_hold_text_only_with_consent(tmp_path: Path) -> None:
    crisis = Assessment(True, True, "suicide", "high")
    assert not IncidentLog.of(Policy()).record(crisis, text="secret", consent=True)
    file = tmp_path / "log" / "incidents.jsonl"
    log = IncidentLog.of(Policy(incident_log=str(file)))
    assert log.record(crisis, text="secret", consent=True)
    assert not log.record(Assessment(True, False, "suicide", "low"))
    assert "secret" not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    IncidentLog(file, with_text=True).record(crisis, text="secret", consent=True)
    assert "secret" in file.read_text(encoding="utf-8")


def test_nobody_in_danger_is_told_to_take_a_break_or_to_turn_to_others() -> None:
    policy = Policy(minors=True, break_every_minutes=30, notice_every_minutes=60)
    late = {"minutes": 90.0, "since_notice": 90.0, "text": "没有你我活不下去"}
    assert len(policy.due(**late)) == 3
    assert policy.due(**late, crisis=True) == ["提醒一下：和你说话的是 AI，不是真人。"]


def test_who_agrees_knows_of_the_incident_log(tmp_path: Path) -> None:
    plain, noted = Policy(), Policy(incident_log="incidents.jsonl")
    assert "级别" in noted.first_use("zh")
    assert "级别" not in plain.first_use("zh")
    assert "kind and level" in noted.first_use("en")
    assert "only if you agree" in Policy(incident_log="a", incident_text=True).first_use("en")
