"""Key numbers of a card, for the terminal and the page."""

from __future__ import annotations

import math

from jepa_scale.data.card.record import DataCard, Policy, PolicyKind, Value
from jepa_scale.report.wording import whole

_POLICIES = {
    PolicyKind.CONSTANT: "constant",
    PolicyKind.RANDOM: "random: neither the action before nor the observation predicts it",
    PolicyKind.STICKY: "smooth or repeated: the actions before predict it, the observation adds little",
    PolicyKind.FEEDBACK: "answers the observation, with a part of its own",
    PolicyKind.SCRIPTED: "a function of the observation",
}


def heading(card: DataCard) -> list[str]:
    """Return the lines that say what was read."""
    content = card.content
    lengths = f"{content.lengths[0]} to {content.lengths[-1]} rows"
    return [
        card.source,
        f"{content.episodes} episodes of {lengths}, {content.transitions} transitions",
        card.kind,
    ]


def key_numbers(card: DataCard) -> list[tuple[str, str]]:
    """Return the key numbers: names, and values with 95 % intervals over whole episodes."""
    content = card.content
    rows = [
        ("rows in an episode", f"median {content.lengths[2]}, quartiles {content.lengths[1]} and {content.lengths[3]}"),
        ("breaks inside episodes", whole(content.breaks)),
        ("observations not finite", whole(content.not_finite)),
        ("copies among episodes", f"{content.duplicates} exact, {content.near_duplicates} near ones"),
    ]
    constant = sum(one.constant for one in card.coordinates)
    if card.coordinates:
        rows.append(("coordinates that never change", f"{constant} of {len(card.coordinates)}"))
    if card.policy is not None:
        rows += _of_policy(card.policy)
    if card.effect is not None:
        rows.append(("x⁺ explained by a beyond x", share(card.effect)))
    if card.sample is not None:
        effective = card.sample.effective
        rows.append(
            ("effective sample", f"{spread(effective)} independent rows of the {whole(card.sample.n)} looked at")
        )
    if card.coverage is not None:
        coverage = card.coverage
        states = f"more than {coverage.states.value:.3g}" if coverage.bounded else spread(coverage.states)
        rows.append((f"states at {coverage.resolution:g} deviations", states))
        if known(coverage.entropy):
            coordinates = f"nats in {coverage.dimensions} principal coordinates"
            rows.append(("entropy of observations", f"{spread(coverage.entropy)} {coordinates}"))
        if len(coverage.curve) > 1:
            before, last = coverage.curve[-2:]
            rows.append(
                ("distance to the nearest row", f"{spread(before.distance)} at n = {whole(before.n)}, "
                 f"{spread(last.distance)} at {whole(last.n)}")
            )  # fmt: skip
            rows.append(
                ("step not predicted", f"{share(before.unpredicted)} at n = {whole(before.n)}, "
                 f"{share(last.unpredicted)} at {whole(last.n)}")
            )  # fmt: skip
    return rows


def _of_policy(policy: Policy) -> list[tuple[str, str]]:
    rows = [("policy", _POLICIES[policy.kind])]
    if policy.kind is PolicyKind.CONSTANT:
        return rows
    rows.append(("action like the one before", f"correlation {spread(policy.autocorrelation)}"))
    rows.append(("action predicted by x", share(policy.state_share)))
    rows.append(("… beyond the actions before", share(policy.state_beyond_past)))
    if known(policy.entropy):
        rows.append(("entropy of actions", f"{spread(policy.entropy)} nats"))
    return rows


def known(value: Value) -> bool:
    """Whether there is an estimate."""
    return math.isfinite(value.value)


def spread(value: Value) -> str:
    """Return a value with its interval."""
    if not known(value):
        return "–"
    if not math.isfinite(value.error):
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"


def share(value: Value) -> str:
    """Return a share of variance with its interval, in percent."""
    if not known(value):
        return "–"
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]"
