"""The bounds from their definitions, one start and goal at a time."""

import itertools

import numpy as np

from tests.reference import worlds


def parts(world, encoder, predictor, pooled=False):
    """M̄(a), q_a and the residual δ_a."""
    matrices, law = worlds.normalised_co_occurrence(world, pooled)
    residual = np.empty_like(matrices)
    for a, x, y in itertools.product(range(world.actions), range(world.states), range(world.states)):
        inner = np.sqrt(world.context_law[x] * law[a, y]) * float(predictor[a, x] @ encoder[y])
        residual[a, x, y] = matrices[a, x, y] - inner
    return matrices, law, residual


def one_step(world, encoder, predictor, goals, pooled=False):
    """c₀, c₃, ω, regret of the density planner, B1, B1″ and B5, goals counted one observation at a time."""
    _, law, residual = parts(world, encoder, predictor, pooled)
    found = dict.fromkeys(("c0", "c3", "omega", "regret", "b1", "b1_double_prime", "b5"), 0.0)
    for start, goal in itertools.product(range(world.states), repeat=2):
        weight = world.context_law[start] * goals[start, goal]
        ratios = [np.sqrt(law[a, goal] / world.context_law[start]) for a in range(world.actions)]
        values = [world.transition[a, start, goal] for a in range(world.actions)]
        scores = [law[a, goal] * float(predictor[a, start] @ encoder[goal]) for a in range(world.actions)]
        errors = [ratios[a] * abs(residual[a, start, goal]) for a in range(world.actions)]
        chosen, best = int(np.argmax(scores)), int(np.argmax(values))
        found["c0"] += weight * max(ratios)
        found["c3"] = max(found["c3"], *ratios)
        found["omega"] = max(found["omega"], *(goals[start, goal] * law[a, goal] for a in range(world.actions)))
        found["regret"] += weight * (values[best] - values[chosen])
        found["b1"] += weight * (errors[best] + errors[chosen])
        found["b1_double_prime"] += weight * 2 * max(errors)
        worse = [value for value in values if value < values[best] - 1e-12]
        if worse and 2 * max(errors) >= values[best] - max(worse):
            found["b5"] += weight * min(2 * max(errors), values[best] - min(values))
    return found


def operators(world, encoder, predictor, pooled=False):
    """P̂(a)[x, x'] = g(f(x), a)ᵀ f(x') q_a(x')."""
    _, law, _ = parts(world, encoder, predictor, pooled)
    return np.stack([predictor[a] @ encoder.T * law[a][None] for a in range(world.actions)])


def shared_risk_by_alternation(world, encoder, rounds=300):
    """Σ_a π(a) R(a) after alternating least squares in F and G from a given F: a local minimum over shared encoders."""
    matrices, law, _ = parts(world, encoder, np.zeros((world.actions, *encoder.shape)))
    actions, encoder = range(world.actions), encoder.copy()

    def best_left():
        return [np.linalg.lstsq(np.sqrt(law[a])[:, None] * encoder, matrices[a].T, rcond=None)[0] for a in actions]

    for _ in range(rounds):
        left = best_left()
        for y in range(world.states):
            rows = [np.sqrt(world.policy[a] * law[a, y]) * left[a].T for a in actions]
            targets = [np.sqrt(world.policy[a]) * matrices[a][:, y] for a in actions]
            encoder[y] = np.linalg.lstsq(np.vstack(rows), np.concatenate(targets), rcond=None)[0]
    left = best_left()
    fitted = [left[a].T @ (np.sqrt(law[a])[:, None] * encoder).T for a in actions]
    return sum(world.policy[a] * ((matrices[a] - fitted[a]) ** 2).sum() for a in actions)
