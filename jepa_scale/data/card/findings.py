"""What a card finds, each with its code and sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jepa_scale.data.alignment.verdict import Alignment, Reason, Verdict
from jepa_scale.data.card.record import Code, Content, Coordinate, Policy, PolicyKind, Remark, Value

_FEW = 16
"""Episodes below which 8 to hold out and 8 to test on are not to be had."""
_LOST = 0.5
_NO_EFFECT = 0.01


def findings_of(
    content: Content,
    coordinates: Sequence[Coordinate],
    policy: Policy | None,
    effect: Value | None,
    alignment: Alignment,
    still: bool,
) -> tuple[Remark, ...]:
    """Return the findings, those that ruin training first."""
    found = [*_of_content(content, still), *_of_coordinates(coordinates), *_of_actions(policy, effect, alignment)]
    return tuple(sorted(found, key=lambda finding: not finding.ruins))


def _of_content(content: Content, still: bool) -> Iterator[Remark]:
    if still:
        yield Remark(Code.STILL, f"all {content.rows} observations are the same: is this the right column?")
    usual = content.rows - content.episodes
    if content.breaks > _LOST * usual:
        yield Remark(
            Code.LOST,
            f"{content.breaks} of {usual} transitions cannot be used: mend the recorder, or choose other columns",
        )
    elif content.breaks:
        yield Remark(Code.BREAKS, f"{content.breaks} of {usual} transitions inside episodes cannot be used")
    if content.not_finite:
        yield Remark(Code.NOT_FINITE, f"{content.not_finite} of {content.rows} observations are not finite")
    if content.episodes < _FEW:
        yield Remark(
            Code.FEW_EPISODES,
            f"{content.episodes} of 17 episodes that a run needs: it holds out 8 and tests on 8 others, as only "
            "episodes are independent",
        )
    if content.duplicates:
        yield Remark(
            Code.DUPLICATES,
            f"{content.duplicates} of {content.episodes} episodes are copies of others: held-out episodes may be among "
            "the training ones",
        )
    if content.near_duplicates:
        yield Remark(
            Code.NEAR_DUPLICATES,
            f"{content.near_duplicates} of {content.compared} episodes run almost exactly like another: they are worth "
            "less than their number",
        )


def _of_coordinates(coordinates: Sequence[Coordinate]) -> Iterator[Remark]:
    constant = [one.index for one in coordinates if one.constant]
    if constant and len(constant) < len(coordinates):
        yield Remark(
            Code.CONSTANT, f"{len(constant)} of {len(coordinates)} coordinates never change: {_listed(constant)}"
        )
    fixed = [one.index for one in coordinates if one.fixed]
    if fixed:
        yield Remark(
            Code.EPISODE_CONSTANT,
            f"coordinates {_listed(fixed)} change between episodes only: a goal, or a number that tells them apart, "
            "which a latent will learn in place of the dynamics",
        )
    clocks = [one.index for one in coordinates if one.clock]
    if clocks:
        yield Remark(
            Code.TIME_INDEX,
            f"coordinates {_listed(clocks)} count the rows of the episode: a model predicts them without any dynamics, "
            "leave them out",
        )


def _of_actions(policy: Policy | None, effect: Value | None, alignment: Alignment) -> Iterator[Remark]:
    if alignment.verdict is Verdict.SHIFTED:
        yield Remark(Code.SHIFTED, alignment.sentence)
    if policy is not None and policy.kind is PolicyKind.CONSTANT:
        yield Remark(Code.ACTION_CONSTANT, "the action never changes: nothing can be learned of what actions do")
        return
    if policy is not None and policy.kind is PolicyKind.SCRIPTED:
        yield Remark(
            Code.ACTION_DETERMINED,
            f"the observation predicts {policy.state_share.value:.1%} of the actions: what another action would have "
            "done is not in the recording",
        )
    late = alignment.reason is Reason.DELAYED or alignment.verdict is Verdict.SHIFTED
    if effect is not None and effect.high < _NO_EFFECT and not late:
        yield Remark(
            Code.ACTION_UNUSED,
            f"the action explains {effect.value:.2%} [{effect.low:.2%}, {effect.high:.2%}] of x⁺ beyond x: "
            "a model that ignores it loses nothing",
        )


def _listed(numbers: Sequence[int], most: int = 12) -> str:
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown + (f", … and {len(numbers) - most} more" if len(numbers) > most else "")
