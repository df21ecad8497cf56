"""Planners, their costs and the problems that they are tried on, slow and obvious, from the mathematics."""

from itertools import product

import numpy as np


def cost_of_path(path, goal, plan, final, along, inner, effort, discount, half):
    """Cost of one plan (H, size) that leads through ``path`` (H, k)."""
    total = final * sum((path[-1][i] - goal[i]) ** 2 for i in range(len(goal)))
    for step, latent in enumerate(path):
        total += along * discount**step * sum((latent[i] - goal[i]) ** 2 for i in range(len(goal)))
    total -= inner * sum(path[-1][i] * goal[i] for i in range(len(goal)))
    for action in plan:
        total += effort * sum((coordinate / half) ** 2 for coordinate in action)
    return total


def coloured_power(steps, exponent):
    """Expected |FFT|² at each of the ``steps`` frequencies, for a variance of 1 at every step."""
    power = []
    for index in range(steps):
        frequency = max(min(index, steps - index) / steps, 1 / steps)
        power.append(frequency**-exponent)
    # Parseval: the variance is the mean power over the steps, once for each step.
    return np.array(power) / sum(power) * steps * steps


def cem_step(mean, deviation, normals, cost, elites, low, high, smallest):
    """One refit for one task: mean and deviation (H, size), normals (candidates, H, size)."""
    plans = [np.clip(mean + deviation * one, low, high) for one in normals]
    best = sorted(plans, key=cost)[:elites]
    return np.mean(best, axis=0), np.maximum(np.std(best, axis=0), smallest)


def mppi_step(mean, deviation, normals, cost, temperature, low, high):
    """One weighted mean for one task."""
    plans = [mean] + [np.clip(mean + deviation * one, low, high) for one in normals[1:]]
    costs = np.array([cost(plan) for plan in plans])
    weights = np.exp(-(costs - costs.min()) / (temperature * costs.std()))
    return sum(weight * plan for weight, plan in zip(weights, plans, strict=True)) / weights.sum()


def adam(plan, slope, iterations, rate, momentum, second_momentum, low, high):
    """Every plan that projected Adam with a falling rate visits, the first one included."""
    first, second, visited = np.zeros_like(plan), np.zeros_like(plan), []
    for step in range(iterations):
        visited.append(plan)
        gradient = slope(plan)
        first = momentum * first + (1 - momentum) * gradient
        second = second_momentum * second + (1 - second_momentum) * gradient**2
        ahead = first / (1 - momentum ** (step + 1))
        size = np.sqrt(second / (1 - second_momentum ** (step + 1)))
        plan = np.clip(plan - rate * (1 - step / iterations) * ahead / size, low, high)
    return visited


def projected_gradient(slope, curvature, start, low, high, steps=20_000):
    """Minimum of a convex quadratic over a box: steps of 1/L, L its largest curvature."""
    plan = start
    for _ in range(steps):
        plan = np.clip(plan - slope(plan) / curvature, low, high)
    return plan


def categorical_step(law, uniforms, cost, elites, floor):
    """One refit for one task: law (H, A), uniforms (candidates, H)."""
    plans = []
    for numbers in uniforms:
        plan = []
        for step, number in enumerate(numbers):
            action, below = 0, law[step, 0]
            while number >= below and action < law.shape[1] - 1:
                action += 1
                below += law[step, action]
            plan.append(action)
        plans.append(tuple(plan))
    best = sorted(plans, key=cost)[:elites]
    counted = np.full(law.shape, float(floor))
    for plan in best:
        for step, action in enumerate(plan):
            counted[step, action] += 1
    return counted / counted.sum(1, keepdims=True), best[0]


def best_by_operators(kernels, horizon, start, goal):
    """Score of the best plan by the product of the model's kernels (A, N, N), one plan at a time."""
    scores = []
    for plan in product(range(len(kernels)), repeat=horizon):
        reached = np.zeros(kernels.shape[1])
        reached[start] = 1.0
        for action in plan:
            reached = reached @ kernels[action]
        scores.append(reached[goal])
    return max(scores)
