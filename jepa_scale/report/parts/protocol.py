"""Sentences on how success and regret were measured, and formatting of rates with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jepa_scale.estimators.proportion import wilson
from jepa_scale.records import RunRecord, StudyResult
from jepa_scale.report.summary import finished
from jepa_scale.report.wording import listed, number, plural

COUNTED = {
    "any_time": "the goal is reached at any step of the budget",
    "final": "the last step of the budget ends at the goal",
}
"""Definition of a solved task, by the value of the setting ``success``."""


def rate(value: float | None, n: int | None) -> str:
    """Format a rate with Wilson's 95 % interval over its n tasks; a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.2f} {interval_of(value, n)}".rstrip()


def interval_of(value: float, n: int | None) -> str:
    """Format Wilson's 95 % interval of a rate over n tasks; empty if n is unknown."""
    if not n:
        return ""
    # The mean of rates of several models may exceed 1 by rounding.
    low, high = wilson(min(max(value, 0.0), 1.0) * n, n)
    return f"[{low:.2f}, {high:.2f}]"


def tasks_of(result: StudyResult, policy: str) -> int | None:
    """Return the number of tasks behind a policy's success, the smallest of all finished runs; None if unknown."""
    counts = [record.final_n.get(f"success/{policy}") for _, record in finished(result)]
    return min((n for n in counts if n), default=None)


def sentence(protocol: Mapping[str, Any]) -> str:
    """Return the protocol of one run as a sentence; empty if nothing is planned or nothing is known."""
    kind = protocol.get("kind")
    if kind in ("exact", "pairs"):
        over = (
            "exact over all starts and goals"
            if kind == "exact"
            else (f"the exact one of each of {plural(protocol['episodes'], 'sampled pair')} of start and goal")
        )
        return (
            f"Regret is {over}: plans of {plural(protocol['horizon'], 'step')}, goal law "
            f"{protocol['goal_law']}, plans ranked by {protocol['score']}."
        )
    if kind != "tasks":
        return ""
    ends = "end at their goal" if protocol["stop_at_goal"] else "run on to the budget"
    noise = protocol["goal_noise"]
    seen = f"goals observed with noise of deviation {number(noise)}" if noise else "goals observed without noise"
    removed = sum(protocol["removed"].values())
    drawn = protocol["episodes"] * len(protocol["required_steps"])
    if protocol["keep_solved"]:
        left = "tasks that start at their goal are kept"
    elif not removed:
        left = "no task starts at its goal"
    else:
        left = f"{removed} of {plural(drawn, 'task')} removed because they start at their goal"
    # Protocols of earlier versions knew distances only.
    rule = protocol.get("goal_rule") or f"within {number(protocol['tolerance'])} of it"
    levels = protocol["required_steps"]
    if levels == [0]:
        budget, each = f"{protocol['budget_rule']} steps", plural(protocol["episodes"], "task")
    else:
        budget = f"{protocol['budget_rule']} steps where T are required, T = {listed(levels)}"
        each = f"{protocol['episodes']} tasks for each T"
    against = _AGAINST.get(protocol.get("reference", "oracle"), "")
    return (
        f"A task is solved if {COUNTED[protocol['success']]}, {budget}, {rule}; episodes {ends}. "
        f"{each}: {protocol['goal_law']}; {seen}; {left}.{against}"
    )


_AGAINST = {
    "expert": " There is no oracle: regret is the success of the given expert minus that of the model.",
    "success_1": " There is no oracle: regret is 1 − success.",
}


def sentence_of(records: Sequence[RunRecord]) -> str:
    """Return the protocol that all runs share, or what differs between them; empty if no run has one."""
    protocols = [record.protocol for record in records if record.protocol]
    if not protocols:
        return ""
    sentences = list(dict.fromkeys(sentence(protocol) for protocol in protocols))
    if len(sentences) == 1:
        return sentences[0]
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    differ = [key for key in keys if any(protocol.get(key) != protocols[0].get(key) for protocol in protocols)]
    return (
        f"{sentences[0]} Runs differ in {listed([key.replace('_', ' ') for key in differ])}; that is the first one's."
    )
