"""Exact learners the slow, obvious way, and a torus whose singular values are known in closed form."""

import itertools

import numpy as np

from tests.reference import worlds


def empirical_co_occurrence(world, counts, pooled):
    """Share of each (x, x') among the transitions of a, over √(p(x) q(x')), one cell at a time."""
    _, marginal = worlds.normalised_co_occurrence(world, pooled)
    result = np.zeros(counts.shape)
    for a, x, y in itertools.product(range(world.actions), range(world.states), range(world.states)):
        if counts[a, x, y]:
            share = counts[a, x, y] / counts[a].sum()
            result[a, x, y] = share / np.sqrt(world.context_law[x] * marginal[a, y])
    return result


def per_action_matrix(world, counts, k):
    """Best rank-k approximation of each M̄̂(a), a sum of k outer products."""
    result = np.zeros(counts.shape)
    for a, matrix in enumerate(empirical_co_occurrence(world, counts, False)):
        left, values, right = np.linalg.svd(matrix)
        for i in range(k):
            result[a] += values[i] * np.outer(left[:, i], right[i])
    return result


def shared_matrix(world, counts, k):
    """Each M̄̂(a) projected on the k leading eigenvectors of Σ_a π(a) M̄̂(a)ᵀ M̄̂(a)."""
    matrices = empirical_co_occurrence(world, counts, True)
    gram = sum(world.policy[a] * matrices[a].T @ matrices[a] for a in range(world.actions))
    vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :k]
    return np.array([matrix @ vectors @ vectors.T for matrix in matrices])


def risk(world, matrices, pooled):
    """‖M̄(a) − model‖², summed over cells."""
    truth, _ = worlds.normalised_co_occurrence(world, pooled)
    return np.array([((truth[a] - matrices[a]) ** 2).sum() for a in range(world.actions)])


def density(world, matrices, pooled):
    """The model's P̂(x'|x, a) = √(q(x') / p(x)) times its cell of M̄(a)."""
    _, marginal = worlds.normalised_co_occurrence(world, pooled)
    result = np.zeros(matrices.shape)
    for a, x, y in itertools.product(range(world.actions), range(world.states), range(world.states)):
        result[a, x, y] = np.sqrt(marginal[a, y] / world.context_law[x]) * matrices[a, x, y]
    return result


def one_step_regret(world, scores, goals, tie=1e-9):
    """E over starts, goals and an even draw among the best-scored actions of max_a V − V."""
    total = 0.0
    for start, goal in itertools.product(range(world.states), range(world.states)):
        values = [worlds.plan_value(world, (a,), start, goal) for a in range(world.actions)]
        best = max(scores[a, start, goal] for a in range(world.actions))
        equal = [
            a for a in range(world.actions) if scores[a, start, goal] >= best - tie * np.abs(scores[:, start]).max()
        ]
        regret = max(values) - sum(values[a] for a in equal) / len(equal)
        total += world.context_law[start] * goals[start, goal] * regret
    return total
