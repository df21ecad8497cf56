"""Glossary of a report."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.page.markup import text
from jepa_scale.report.parts.protocol import sentence_of
from jepa_scale.report.summary import finished
from jepa_scale.report.wording import over


def definitions(result: StudyResult) -> str:
    """Return the glossary of the terms that the study's report uses."""
    goals = {
        "reachable": "goals are reached from the start by the behaviour policy in T steps",
        "data": "goals follow the sampling law of the data",
        "uniform": "goals are uniform over the observations",
    }
    exact_terms = {
        "regret": f"Expected loss of probability of ending at the goal against the best plan of T = {result.horizon} "
        f"actions, {over(result)}; plans are ranked by the {result.score} score.",
        "goal law": f"{result.goal_law}: {goals.get(result.goal_law, 'as in the settings')}.",
    }
    protocol = sentence_of([record for _, record in finished(result)])
    meaning = {
        "n": "Training transitions. The data of a smaller n are a prefix of those of a larger one with the same seed.",
        "k": "Latent width: the dimension of the encoder's output.",
        "seed": "Decides data, initialisation and batches of one run.",
        **(_SAMPLED_TERMS if result.sampled else exact_terms),
        **({"protocol": protocol} if protocol else {}),
        "risk R": "Squared distance between the model's and the world's normalised co-occurrence matrix, mean over "
        "actions, computed exactly from the world.",
        "tail": "Sum of the squared singular values beyond k: the lowest risk of any model of width k (T2).",
        "± (SE)": "One standard error over seeds, s/√m. Differences carry the Welch standard error √(SE₁² + SE₂²); the "
        "best k is chosen from the same means, which makes differences to it a little optimistic.",
        "vacuous": "A bound of 1 or more says nothing, as a regret never exceeds 1; its value is kept in parentheses.",
        "held out": "The largest n takes no part in the fits; the laws forecast it.",
        "interval": "Percentiles of the cluster bootstrap over seeds; calibrated forecasts are widened by what the "
        "same forecast missed one n earlier.",
        "AICc": "Ranks laws fitted to the same cells; a difference below 2 is a tie, and the best of several "
        "laws may still be wrong.",
    }
    return (
        "<h3>Definitions</h3><dl>"
        + "".join(f"<dt>{text(term)}</dt><dd>{text(definition)}</dd>" for term, definition in meaning.items())
        + "</dl>"
    )


_SAMPLED_TERMS = {
    "success": "Share of sampled tasks that are solved, at any step of the budget or at its end as the protocol says, "
    "planning anew after each step. Tasks and the planner's random numbers are the same for all models of a world.",
    "regret": "Success of the same planner with the true state, dynamics and distances (oracle), minus that with the "
    "model. Its parts: geometry = oracle − same cost, where the same cost is true dynamics ranked by the model's own "
    "distances; dynamics = same cost − model.",
    "random, do-nothing": "Success of uniformly random actions, and of the action 0.",
}
