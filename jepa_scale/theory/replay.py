"""Derive a trial again, step by step, in words and numbers that can be checked by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jepa_scale.theory.bounds.base import BoundCase
from jepa_scale.theory.graph import next_law, normalised_co_occurrence
from jepa_scale.theory.planning import all_plans
from jepa_scale.theory.statements import StatementOutcome, statement
from jepa_scale.theory.trial import Trial

_LARGEST_SHOWN = 12


def replay(trial: Trial, name: str) -> Iterator[str]:
    """Yield the derivation of one statement on one trial, a line at a time.

    Raises
    ------
    ValueError
        If the statement is unknown or has nothing to say on this trial.
    """
    claim = statement(name)
    outcome = claim.evaluate(trial)
    if outcome is None:
        raise ValueError(f"statement {name} has nothing to try in this trial: its model or negatives do not fit")
    # T3 and the floors are about no planner. The planner's model is clipped for B3 and learned for T6.
    case = outcome.case or trial.case("density")
    world, model = trial.world, case.model
    yield f"{outcome.bound.label}: {claim.says}"
    yield ""
    yield f"1. The world: N = {world.states} observations, |A| = {world.actions} actions."
    yield from _array("p(x), the law of contexts", world.context_law)
    for action in range(world.actions):
        yield from _array(f"P(x'|x, a={action})", world.transition[action])
    yield from _array("q_a(x') = Σ_x p(x) P(x'|x, a), a row for each action", next_law(world))
    yield f"   behaviour policy π = {_row(world.policy)}; goals by {trial.goal_law} law; {trial.negatives} negatives"
    yield ""
    yield f"2. The model: width k = {model.k}" + (
        ", g(z, a) = W_a z." if model.maps is not None else ", g on f(X) only."
    )
    yield from _array("f(x), a row for each x", model.encoder)
    for action in range(world.actions):
        yield from _array(f"g(f(x), a={action})", model.predictor[action])
    yield ""
    yield "3. The risk: δ_a = M̄(a) − GᵀF and R(a) = Σ δ_a²."
    matrices = normalised_co_occurrence(world, trial.negatives)
    for action in range(world.actions):
        yield from _array(f"M̄(a={action})", matrices[action])
        yield from _array(f"δ_{action}", case.residual[action])
        yield f"   R({action}) = {case.risk[action]:.6g}"
    if outcome.bound.quantity == "regret":
        yield ""
        yield from _planning(case)
    yield ""
    yield from _verdict(outcome)


def _planning(case: BoundCase) -> Iterator[str]:
    constants = case.constants
    horizon = constants.problem.horizon
    plans = all_plans(constants.world.actions, horizon)
    roll_out = "" if horizon == 1 else f", {case.roll_out} roll-out"
    yield f"4. Planning T = {horizon} step{'s' * (horizon > 1)} by the {case.score} score{roll_out}."
    best = constants.values.max(0)
    taken = np.take_along_axis(constants.values, case.chosen[None], axis=0)[0]
    lost = constants.weights * (best - taken)
    start, goal = np.unravel_index(int(lost.argmax()), lost.shape)
    yield f"   The costliest pair: from x = {start} to x_g = {goal}, weight p·μ = {constants.weights[start, goal]:.6g}."
    order = np.argsort(-case.scores[:, start, goal], kind="stable")[:_LARGEST_SHOWN]
    for plan in order:
        marks = ["chosen"] if plan == case.chosen[start, goal] else []
        marks += ["best"] if plan == constants.values[:, start, goal].argmax() else []
        yield (
            f"   plan {_plan(plans[plan])}: score {case.scores[plan, start, goal]:.6g}, "
            f"V = P(x_T = x_g) = {constants.values[plan, start, goal]:.6g}{' ← ' + ', '.join(marks) if marks else ''}"
        )
    yield f"   Lost there: {best[start, goal]:.6g} − {taken[start, goal]:.6g} = {(best - taken)[start, goal]:.6g}."
    yield f"   Expected regret, summed over all pairs: E = {case.regret:.6g}."


def _verdict(outcome: StatementOutcome) -> Iterator[str]:
    bound = outcome.bound
    yield "5. The statement."
    for hypothesis in bound.hypotheses:
        yield f"   {'holds' if hypothesis.holds else 'FAILS'}: {hypothesis.statement} ({hypothesis.detail})"
    relation = "≥" if bound.lower else "≤"
    yield f"   It claims {outcome.actual:.6g} {relation} {bound.value:.6g}" + (" (vacuous)." if bound.vacuous else ".")
    if not bound.applies:
        yield "   A hypothesis fails, so it promises nothing here."
    elif outcome.violated:
        yield "   Every hypothesis holds and the claim does not: a counterexample."
    else:
        yield "   The claim holds."


def _array(title: str, values: np.ndarray) -> Iterator[str]:
    yield f"   {title}"
    rows = np.atleast_2d(values)
    for row in rows[:_LARGEST_SHOWN]:
        yield f"     {_row(row)}"
    if len(rows) > _LARGEST_SHOWN:
        yield f"     … and {len(rows) - _LARGEST_SHOWN} more rows"


def _row(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.5g}" for value in np.where(np.abs(values) < 1e-12, 0.0, values)[:_LARGEST_SHOWN])
    return f"[{shown}{', …' if len(values) > _LARGEST_SHOWN else ''}]"


def _plan(actions: np.ndarray) -> str:
    return "(" + ", ".join(str(int(action)) for action in actions) + ")"
