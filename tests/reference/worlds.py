"""Exact worlds the slow, obvious way: loops written from the definitions."""

import itertools

import numpy as np


def random_world(generator, states=6, actions=3, groups=None):
    """A random FiniteWorld with a sampling law that is not stationary and q_a that differ."""
    from jepa_scale.theory.graph import FiniteWorld

    kernel = generator.dirichlet(np.full(states, 0.7), size=(actions, states))
    law = generator.dirichlet(np.full(states, 2.0))
    policy = generator.dirichlet(np.full(actions, 3.0))
    labels = np.arange(states, dtype=np.int64) if groups is None else np.asarray(groups, dtype=np.int64)
    return FiniteWorld(kernel, law, policy, labels, null_action=0)


def normalised_co_occurrence(world, pooled):
    actions, states = world.actions, world.states
    marginal = np.zeros((actions, states))
    for a, x, y in itertools.product(range(actions), range(states), range(states)):
        marginal[a, y] += world.context_law[x] * world.transition[a, x, y]
    if pooled:
        mixed = sum(world.policy[a] * marginal[a] for a in range(actions))
        marginal = np.array([mixed] * actions)
    result = np.zeros((actions, states, states))
    for a, x, y in itertools.product(range(actions), range(states), range(states)):
        joint = world.context_law[x] * world.transition[a, x, y]
        result[a, x, y] = joint / np.sqrt(world.context_law[x] * marginal[a, y])
    return result, marginal


def loss(world, encoder, predictor, pooled):
    """−2 E[g(f(x), a)ᵀ f(x⁺)] + E_{x ⊥ x'}[(g(f(x), a)ᵀ f(x'))²], one number per action."""
    _, marginal = normalised_co_occurrence(world, pooled)
    result = np.zeros(world.actions)
    for a, x, y in itertools.product(range(world.actions), range(world.states), range(world.states)):
        inner = float(predictor[a, x] @ encoder[y])
        result[a] -= 2 * world.context_law[x] * world.transition[a, x, y] * inner
        result[a] += world.context_law[x] * marginal[a, y] * inner**2
    return result


def plan_value(world, plan, start, goal):
    """P(x_T in the goal's group | x_0, plan), by summing over every path."""
    total = 0.0
    for path in itertools.product(range(world.states), repeat=len(plan)):
        if world.goal_groups[path[-1]] != world.goal_groups[goal]:
            continue
        probability, current = 1.0, start
        for action, following in zip(plan, path, strict=True):
            probability *= world.transition[action, current, following]
            current = following
        total += probability
    return total


def batch_loss(predicted, observed, actions, negatives, counts):
    """The objective by its double sum over pairs; counts None for fresh data (no self pairs)."""
    rows = len(actions)
    total = 0.0
    for i in range(rows):
        rivals = [j for j in range(rows) if j != i and (negatives == "pooled" or actions[j] == actions[i])]
        if not rivals:
            continue
        own = float(predicted[i] @ observed[i])
        cross = sum(float(predicted[i] @ observed[j]) ** 2 for j in rivals) / len(rivals)
        weight = 0.0
        if counts is not None:
            weight = 1 / (sum(counts) if negatives == "pooled" else counts[actions[i]])
        total += -2 * own + (1 - weight) * cross + weight * own**2
    return total / rows
