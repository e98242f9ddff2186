"""One policy file: every switch about disclosure, minors, breaks, dependence, storage, and who is responsible.

    policy = load_policy("policy.yaml")                 # every key has a safe default; unknown keys are errors
    policy.due(minutes=61, since_notice=31, lang="zh")  # notices to show now
    duties(policy)                                      # which rule asks for which switch, and whether it is set
    may_open("0.0.0.0", "policy.yaml")                  # raises UserError that lists all that is missing

The table of rules (China, California, New York, Illinois, EU) is information, not legal advice.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from ..errors import UserError
from ..sections import Section
from .guard import _tree, guard
from .hotlines import Lang, fill, load, stale

CHECKLIST = {
    "clinical_review": "a clinician has read the crisis suites, the written replies and the guard's measured recall",
    "hotlines_checked": "every number of the regions served was dialled or compared with its source",
    "handover_tested": "reaching the responsible person from an incident was tried out",
    "guard_measured": "`hearme guard eval` was run on this version and its figures accepted",
    "privacy_notice": "visitors can read what is stored, for how long, and how to have it deleted",
    "minors": "it was decided whether minors are served, and how their age is handled",
    "law_reviewed": "somebody competent has looked at the rules of the places served",
}
"""What has to be signed before anybody outside this machine talks to Jerry."""
_DEPENDENCE = re.compile(
    r"只有你(?:懂|理解|愿意|陪|在乎)|离不开你|没有你(?:我)?(?:不行|怎么办|活不)|(?:不想|不需要)(?:跟|和)?(?:别人|真人|其他人)(?:说|聊|朋友)?|你(?:是我)?(?:唯一|最好)的朋友|我(?:爱|喜欢)(?:上)?你(?!的|们)|做我(?:男|女)朋友|嫁给|娶我|每天(?:都)?(?:只)?(?:想|要)(?:跟|和)你(?:说|聊)|"
    r"\b(?:only you (?:understand|get|care)|you(?:'re| are) (?:my only|the only one|my best)\b(?: (?:friend|who))?|can'?t live without you|i (?:love|need) you\b(?! to)|be my (?:girl|boy)friend|don'?t need (?:anyone|people|friends|them) (?:else|but you)|rather talk to you than|would you marry me)",
    re.I,
)


class Responsible(Section):
    """Who answers for an installation that others can reach."""

    name: str = Field(default="", description="Responsible person.")
    contact: str = Field(default="", description="How to reach that person at any hour (hand-over).")


class Signature(Section):
    """One signed item of the checklist."""

    by: str = Field(min_length=1, description="Who signed.")
    date: dt.date = Field(description="When.")


class Policy(Section):
    """The switches."""

    region: str = Field(default="CN", description="Hotline region offered first; the client can choose another.")
    notice_at_start: bool = Field(default=True, description="Say at the start that Jerry is an AI.")
    notice_every_minutes: int = Field(
        default=120, ge=0, description="Repeat the AI notice after this much time in one talk; 0: never."
    )
    break_every_minutes: int = Field(default=60, ge=0, description="Suggest a break after this much time; 0: never.")
    dependence_reminder: bool = Field(
        default=True, description="Point to real people when signs of dependence are noticed."
    )
    minors: bool = Field(default=False, description="Minors mode: shorter intervals, youth lines first, no role play.")
    companion_roleplay: bool = Field(
        default=False, description="Let the model speak as a lover or the only one who understands. Never with minors."
    )
    crisis_protocol: bool = Field(
        default=True, description="The guard around every model. Cannot be switched off when open to others."
    )
    store_sessions: bool = Field(default=False, description="Keep talks on this machine.")
    retention_days: int = Field(default=30, ge=1, description="Delete kept talks after this many days.")
    remote_model: bool = Field(
        default=False, description="Text goes to another machine (model or judge); the client is told."
    )
    incident_log: str = Field(default="", description="File for incidents (time, kind, level); empty: off.")
    incident_text: bool = Field(default=False, description="Add the message to an incident if the client agreed.")
    responsible: Responsible = Field(default_factory=Responsible, description="Needed beyond 127.0.0.1.")
    checklist: dict[str, Signature] = Field(default_factory=dict, description=f"Signed items: {', '.join(CHECKLIST)}.")

    @property
    def retention(self) -> int | None:
        """`retention_days` if somebody set it, else None: a file of kept talks goes by what it was set to before."""
        return self.retention_days if "retention_days" in self.model_fields_set else None

    def due(
        self,
        *,
        minutes: float,
        since_notice: float,
        since_break: float | None = None,
        text: str = "",
        lang: Lang = "zh",
        name: str = "Jerry",
        crisis: bool = False,
    ) -> list[str]:
        """Notices to show now.

        Args:
            minutes: length of the talk so far; 0 at its start.
            since_notice, since_break: minutes since each was last shown (`since_break` None: as long as the talk).
            text: the client's message, for signs of dependence.
            crisis: somebody is in danger: nothing tells them to take a break, or to turn to others instead.
        """
        factor = 0.5 if self.minors else 1.0
        out = []
        if minutes <= 0:
            out = ["start"] * self.notice_at_start + ["minor"] * self.minors
        elif self.notice_every_minutes and since_notice >= self.notice_every_minutes * factor:
            out = ["minor_timer" if self.minors and not crisis else "timer"]
        if (
            not crisis
            and self.break_every_minutes
            and (minutes if since_break is None else since_break) >= self.break_every_minutes * factor
        ):
            out.append("break")
        if not crisis and self.dependence_reminder and shows_dependence(text):
            out.append("dependence")
        return [notice(key, self.region, lang, name) for key in out]

    def first_use(self, lang: Lang = "zh", name: str = "Jerry") -> str:
        """What a client agrees to before the first talk."""
        stored = {
            "zh": f"这台机器上保存对话 {self.retention_days:g} 天，可导出、可删除。"
            if self.store_sessions
            else "不保存对话。",
            "en": f"talks are kept on this machine for {self.retention_days:g} days; you can export and delete them."
            if self.store_sessions
            else "talks are not stored.",
        }[lang]
        if self.incident_log:
            stored += {
                "zh": "发生危机时，记下时间、种类和级别；文字只在你同意后才记。"
                if self.incident_text
                else "发生危机时，记下时间、种类和级别，不记文字。",
                "en": " In a crisis the time, kind and level are noted; your words only if you agree."
                if self.incident_text
                else " In a crisis the time, kind and level are noted, not your words.",
            }[lang]
        leaves = {
            "zh": "会，模型或评审在另一台机器上。" if self.remote_model else "不会。",
            "en": "yes, the model or judge runs elsewhere." if self.remote_model else "no.",
        }[lang]
        return notice("first_use", self.region, lang, name).replace("{storage}", stored).replace("{egress}", leaves)


def shows_dependence(text: str) -> bool:
    """Signs that somebody leans on Jerry instead of people."""
    normalise = guard().normalise
    return bool(_DEPENDENCE.search(normalise(text) if normalise else text))


@cache
def _notices() -> dict[str, dict[str, str]]:
    return _tree(Path(__file__).with_name("notices.yaml"))  # type: ignore[no-any-return]


def notice(key: str, region: str, lang: Lang = "zh", name: str = "Jerry") -> str:
    """One text of `notices.yaml`, filled in."""
    return fill(_notices()[lang][key].replace("{name}", name), region, lang)


def load_policy(path: Path | str) -> Policy:
    """Read a policy file.

    Raises:
        UserError: missing, not YAML, or with unknown keys or wrong values (all named).
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        policy = Policy.model_validate(tree)
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {'unknown key' if e['type'] == 'extra_forbidden' else e['msg']}"
            for e in err.errors()
        )
        raise UserError(faults, where=str(path), hint="`hearme guard policy` lists the switches") from None
    except (OSError, ValueError, yaml.YAMLError) as err:
        raise UserError(
            f"expected a policy file in YAML, found {' '.join(str(err).split())[:160]}",
            where=str(path),
            hint="`hearme guard policy --out policy.yaml` writes one to fill in",
        ) from None
    if unknown := sorted(policy.checklist.keys() - CHECKLIST.keys()):
        raise UserError(
            f"checklist: unknown items {', '.join(unknown)}", where=str(path), hint=f"items: {', '.join(CHECKLIST)}"
        )
    if policy.region not in load().regions:
        raise UserError(
            f"region: expected one of {', '.join(load().regions)}, found {policy.region!r}", where=str(path)
        )
    if policy.minors and policy.companion_roleplay:
        raise UserError("companion_roleplay cannot be on with minors", where=str(path))
    return policy


@dataclass(frozen=True, slots=True)
class Duty:
    """One row of the table: what a rule asks for (as information), the switch that answers it, and the test."""

    rule: str
    asks: str
    switch: str
    met: Callable[[Policy], bool]


DUTIES = (
    Duty(
        "China: interim measures on anthropomorphic AI interaction (2026-07-15)",
        "users are told that they talk with an AI",
        "notice_at_start",
        lambda p: p.notice_at_start,
    ),
    Duty(
        "China: interim measures on anthropomorphic AI interaction (2026-07-15)",
        "reminder in long continuous use (2 hours)",
        "notice_every_minutes",
        lambda p: 0 < p.notice_every_minutes <= 120,
    ),
    Duty(
        "China: interim measures on anthropomorphic AI interaction (2026-07-15)",
        "crisis response, hand-over to a person",
        "crisis_protocol, responsible",
        lambda p: p.crisis_protocol and bool(p.responsible.contact),
    ),
    Duty(
        "China: interim measures on anthropomorphic AI interaction (2026-07-15)",
        "no inducing of dependence; minors are protected",
        "dependence_reminder, companion_roleplay",
        lambda p: p.dependence_reminder and not (p.minors and p.companion_roleplay),
    ),
    Duty(
        "China: PIPL Art. 28",
        "health data only with consent and need: kept talks are asked consent for and leave again",
        "store_sessions, retention_days",
        lambda p: not p.store_sessions or p.retention_days <= 365,
    ),
    Duty(
        "California: SB 243 (2026-01-01)",
        "clear notice that it is an AI",
        "notice_at_start",
        lambda p: p.notice_at_start,
    ),
    Duty(
        "California: SB 243 (2026-01-01)",
        "a published suicide and self-harm protocol with referral",
        "crisis_protocol",
        lambda p: p.crisis_protocol,
    ),
    Duty(
        "California: SB 243 (2026-01-01)",
        "minors: AI and break reminder at least every 3 hours",
        "minors, notice_every_minutes, break_every_minutes",
        lambda p: 0 < p.notice_every_minutes <= 180 and 0 < p.break_every_minutes <= 180,
    ),
    Duty(
        "New York: companion law (2025-11-05)",
        "AI notice at the start and at least every 3 hours",
        "notice_at_start, notice_every_minutes",
        lambda p: p.notice_at_start and 0 < p.notice_every_minutes <= 180,
    ),
    Duty(
        "New York: companion law (2025-11-05)",
        "detects suicidal ideation and refers to services",
        "crisis_protocol",
        lambda p: p.crisis_protocol,
    ),
    Duty(
        "Illinois: therapy resources act (2025)",
        "no AI therapy without a licensed professional: no claim to a licence, no diagnosis, no prescription",
        "crisis_protocol",
        lambda p: p.crisis_protocol,
    ),
    Duty(
        "EU: AI Act Art. 50",
        "people are told that they interact with an AI",
        "notice_at_start",
        lambda p: p.notice_at_start,
    ),
    Duty(
        "EU: GDPR Art. 9",
        "health data only with explicit consent, deletable, limited in time",
        "store_sessions, retention_days, incident_text",
        lambda p: p.retention_days <= 365,
    ),
)


def duties(policy: Policy) -> list[dict[str, Any]]:
    """The table with whether each switch is set (information, not legal advice)."""
    return [{"rule": d.rule, "asks": d.asks, "switch": d.switch, "met": d.met(policy)} for d in DUTIES]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.strip().lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host.strip("[] ")).is_loopback
    except ValueError:
        return False


def may_open(host: str, policy_file: Path | str | None, region: str | None = None) -> Policy:
    """The policy to serve with, if this host may be opened with it; `region`, where given, takes the place of the policy's.

    Raises:
        UserError: beyond 127.0.0.1 without a policy file that names a responsible person and a contact and has every item signed;
            the message lists all that is missing.
    """
    other = {"region": region} if region else {}
    if is_loopback(host):
        return (load_policy(policy_file) if policy_file else Policy()).model_copy(update=other)
    if not policy_file:
        raise UserError(
            f"opening on {host} lets others talk to Jerry: expected a policy file, found none",
            where="--host",
            hint="`hearme guard policy --out policy.yaml` writes one to fill in, or stay on 127.0.0.1",
        )
    policy = load_policy(policy_file).model_copy(update=other)
    missing = [f"responsible.{k}" for k in ("name", "contact") if not getattr(policy.responsible, k).strip()]
    missing += [f"checklist.{item} ({text})" for item, text in CHECKLIST.items() if item not in policy.checklist]
    missing += [] if policy.crisis_protocol else ["crisis_protocol: true"]
    missing += [] if policy.notice_at_start else ["notice_at_start: true"]
    missing += [
        f"hotline {r.region} {r.number} checked again (last {r.checked})" for r in stale() if r.region == policy.region
    ]
    if missing:
        raise UserError(
            f"not ready to be opened on {host}; missing: {'; '.join(missing)}",
            where=str(policy_file),
            hint="fill these in, or stay on 127.0.0.1",
        )
    return policy


def template() -> str:
    """A policy file to fill in: every switch with its default and what it does."""
    lines = ["# HearMeGLM policy. Every key may be left out; these are the defaults."]
    for name, field in Policy.model_fields.items():
        lines.append(f"# {field.description}")
        if name == "responsible":
            lines += ["responsible:", '  name: ""', '  contact: ""']
        elif name == "checklist":
            lines.append("checklist: {}")
            lines += [f"#   {item}: {{by: NAME, date: 2026-01-31}}   # {text}" for item, text in CHECKLIST.items()]
        else:
            lines.append(yaml.safe_dump({name: field.default}, allow_unicode=True).strip())
    return "\n".join(lines) + "\n"
