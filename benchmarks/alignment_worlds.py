"""Recordings with a known alignment, for the table of the alignment check: worlds, policies, and shifts of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import assemble
from jepa_scale.records import Episodes

Array = NDArray[np.float64]
Policy = Callable[[Array, int, np.random.Generator], Array]
"""(observations so far (t + 1, D), t) → action."""
Recording = tuple[list[Array], list[Array]]
"""Observations (T + 1, D) and actions (T, A) or (T,) of each episode."""


@dataclass(frozen=True)
class Case:
    """A world with a policy; ``delay`` is that of the plant in rows."""

    name: str
    record: Callable[[np.random.Generator], Recording]
    delay: int = 0


# Policies


def iid(size: int, history: Array, t: int, generator: np.random.Generator) -> Array:
    return generator.uniform(-1, 1, size)


class Smooth:
    """Autoregressive actions, drawn anew for each episode."""

    def __init__(self, size: int, memory: float = 0.9) -> None:
        self.size, self.memory, self.last = size, memory, np.zeros(size)

    def __call__(self, history: Array, t: int, generator: np.random.Generator) -> Array:
        fresh = generator.normal(size=self.size)
        self.last = fresh if t == 0 else self.memory * self.last + np.sqrt(1 - self.memory**2) * fresh
        return self.last


class Feedback:
    """a = −K (x − goal) − D (x − x before) + noise with a goal for each episode, clipped to [−1, 1] if ``clip``."""

    def __init__(self, gain: Array, noise: float, damping: float = 0.0, goal: float = 0.0, clip: bool = False) -> None:
        self.gain, self.noise, self.damping, self.spread, self.clip = gain, noise, damping, goal, clip
        self.goal = np.zeros(gain.shape[1])

    def __call__(self, history: Array, t: int, generator: np.random.Generator) -> Array:
        if t == 0:
            self.goal = self.spread * generator.normal(size=self.gain.shape[1])
        speed = history[t] - history[max(t - 1, 0)]
        action = -self.gain @ (history[t] - self.goal + self.damping * speed)
        action = action + self.noise * generator.normal(size=len(action))
        return np.clip(action, -1, 1) if self.clip else action


def rolled(
    step: Callable[[Array, Array, np.random.Generator], Array],
    start: Callable[[np.random.Generator], Array],
    see: Callable[[Array], Array],
    policy: Policy,
    generator: np.random.Generator,
    episodes: int = 40,
    length: int = 100,
    ended: Callable[[Array], bool] = lambda state: False,
) -> Recording:
    """Roll a world out: x_{t+1} = step(x_t, a_t)."""
    observed, taken = [], []
    for _ in range(episodes):
        state = start(generator)
        seen, actions = [see(state)], []
        for t in range(length):
            action = policy(np.array(seen), t, generator)
            state = step(state, action, generator)
            seen.append(see(state))
            actions.append(action)
            if ended(state):
                break
        observed.append(np.array(seen))
        taken.append(np.array(actions))
    return observed, taken


# Worlds


def servo(
    generator: np.random.Generator,
    kappa: float = 0.3,
    delay: int = 0,
    noise: float = 5e-4,
    tremor: float = 2e-3,
    size: int = 6,
    episodes: int = 40,
    length: int = 200,
    damping: float | None = None,
) -> Recording:
    """Position-controlled teleoperation: x⁺ = x + κ (leader − x) + w; the leader moves in segments of least jerk.

    With ``damping`` the follower is a mass on a spring: v⁺ = damping v + κ (leader − x), x⁺ = x + v⁺.
    """
    observed, taken = [], []
    for _ in range(episodes):
        way = generator.uniform(-1, 1, (8, size))
        places = np.linspace(0, 7, length)
        first = np.minimum(places.astype(int), 6)
        s = places - first
        w = (10 * s**3 - 15 * s**4 + 6 * s**5)[:, None]
        leader = way[first] * (1 - w) + way[first + 1] * w + tremor * generator.normal(size=(length, size))
        x, v = np.zeros((length + 1, size)), np.zeros(size)
        x[0] = leader[0]
        for t in range(length):
            pull = kappa * (leader[max(0, t - delay)] - x[t])
            v = pull if damping is None else damping * v + pull
            x[t + 1] = x[t] + v + noise * generator.normal(size=size)
        observed.append(x)
        taken.append(leader)
    return observed, taken


def velocity(generator: np.random.Generator, policy: Policy, noise: float = 0.02, size: int = 2) -> Recording:
    """x⁺ = x + 0.1 a + w."""
    return rolled(
        lambda x, a, r: x + 0.1 * a + noise * r.normal(size=size),
        lambda r: r.normal(size=size), lambda x: x, policy, generator,
    )  # fmt: skip


def torque(
    generator: np.random.Generator, policy: Policy, noise: float = 0.01, seen: str = "all", exact: bool = False
) -> Recording:
    """Double integrator (x, v) in 2 dimensions; ``exact``: the held force's exact effect on the place, a / 2 dt²."""
    dt = 0.2

    def step(state: Array, action: Array, r: np.random.Generator) -> Array:
        x, v = state[:2], state[2:]
        faster = v + dt * action + noise * r.normal(size=2)
        return np.concatenate([x + dt * (v + faster) / 2 if exact else x + dt * faster, faster])

    return rolled(
        step, lambda r: 0.3 * r.normal(size=4), (lambda s: s) if seen == "all" else (lambda s: s[:2]), policy, generator
    )


def rotating(
    generator: np.random.Generator,
    policy: Policy,
    size: int = 4,
    actions: int = 2,
    noise: float = 0.05,
    angle: float = 0.6,
) -> Recording:
    """x⁺ = 0.95 R x + B a + w with rotations in planes."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mix = np.kron(np.eye(size // 2), turn)
    basis = np.linalg.qr(generator.normal(size=(size, size)))[0]
    mix = 0.95 * basis @ mix @ basis.T
    push = 0.5 * generator.normal(size=(size, actions))
    return rolled(
        lambda x, a, r: mix @ x + push @ a + noise * r.normal(size=size),
        lambda r: r.normal(size=size), lambda x: x, policy, generator,
    )  # fmt: skip


def wandering(generator: np.random.Generator, policy: Policy) -> Recording:
    """A random walk that no action moves."""
    return rolled(
        lambda x, a, r: 0.98 * x + 0.1 * r.normal(size=2), lambda r: r.normal(size=2), lambda x: x, policy, generator
    )


def unicycle(generator: np.random.Generator, policy: Policy) -> Recording:
    """(x, y, cos θ, sin θ) under forward speed and turn."""

    def step(state: Array, action: Array, r: np.random.Generator) -> Array:
        heading = state[2] + 0.3 * action[1] + 0.01 * r.normal()
        place = state[:2] + 0.1 * action[0] * np.array([np.cos(heading), np.sin(heading)])
        return np.array([*place, heading])

    return rolled(
        step, lambda r: np.array([*r.normal(size=2), r.uniform(-3, 3)]),
        lambda s: np.array([s[0], s[1], np.cos(s[2]), np.sin(s[2])]), policy, generator,
    )  # fmt: skip


def pendulum(generator: np.random.Generator, policy: Policy) -> Recording:
    """Gymnasium's Pendulum-v1: (cos θ, sin θ, θ')."""

    def step(state: Array, action: Array, r: np.random.Generator) -> Array:
        angle, speed = state
        faster = np.clip(speed + (15 * np.sin(angle) + 3 * 2 * np.clip(action[0], -1, 1)) * 0.05, -8, 8)
        return np.array([angle + 0.05 * faster, faster])

    return rolled(
        step, lambda r: r.uniform([-np.pi, -1], [np.pi, 1]),
        lambda s: np.array([np.cos(s[0]), np.sin(s[0]), s[1]]), policy, generator, length=200,
    )  # fmt: skip


def mountain_car(generator: np.random.Generator, policy: Policy, discrete: bool = True) -> Recording:
    """Gymnasium's MountainCar: (place, speed)."""

    def step(state: Array, action: Array, r: np.random.Generator) -> Array:
        push = (float(action) - 1) * 0.001 if discrete else 0.0015 * float(np.clip(action[0], -1, 1))
        speed = np.clip(state[1] + push - 0.0025 * np.cos(3 * state[0]), -0.07, 0.07)
        place = np.clip(state[0] + speed, -1.2, 0.6)
        return np.array([place, 0.0 if place <= -1.2 and speed < 0 else speed])

    return rolled(
        step, lambda r: np.array([r.uniform(-0.6, -0.4), 0.0]), lambda s: s, policy, generator, length=200,
        ended=lambda s: s[0] >= 0.5,
    )  # fmt: skip


def cartpole(generator: np.random.Generator, policy: Policy) -> Recording:
    """Gymnasium's CartPole-v1: (x, x', θ, θ')."""

    def step(state: Array, action: Array, r: np.random.Generator) -> Array:
        _, v, angle, turn = state
        force = 10.0 if action else -10.0
        temp = (force + 0.05 * turn**2 * np.sin(angle)) / 1.1
        bent = (9.8 * np.sin(angle) - np.cos(angle) * temp) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
        pushed = temp - 0.05 * bent * np.cos(angle) / 1.1
        return state + 0.02 * np.array([v, pushed, turn, bent])

    return rolled(
        step, lambda r: r.uniform(-0.05, 0.05, 4), lambda s: s, policy, generator, episodes=100, length=120,
        ended=lambda s: bool(abs(s[0]) > 2.4 or abs(s[2]) > 0.21),
    )  # fmt: skip


def coins(count: int, history: Array, t: int, generator: np.random.Generator) -> Array:
    return generator.integers(count)


class Sticky:
    """A discrete action that is repeated with probability ``hold``."""

    def __init__(self, count: int, hold: float = 0.8) -> None:
        self.count, self.hold, self.last = count, hold, 0

    def __call__(self, history: Array, t: int, generator: np.random.Generator) -> int:
        if t == 0 or generator.random() > self.hold:
            self.last = int(generator.integers(self.count))
        return self.last


def scripted(rule: Callable[[Array], int], count: int, epsilon: float) -> Policy:
    """Return a discrete feedback policy: the rule of the last observation, random with probability epsilon."""

    def policy(history: Array, t: int, generator: np.random.Generator) -> int:
        return int(generator.integers(count)) if generator.random() < epsilon else rule(history[t])

    return policy  # type: ignore[return-value]


def _balance(seen: Array) -> int:
    return int(seen[2] + 0.4 * seen[3] + 0.02 * seen[0] + 0.05 * seen[1] > 0)


def _pump(seen: Array) -> int:
    return 2 if seen[1] >= 0 else 0


def _swing(history: Array, t: int, generator: np.random.Generator) -> Array:
    return np.array([0.9 * np.sign(history[t][2]) if history[t][0] < 0.8 else -2 * history[t][1] - 0.4 * history[t][2]])


def cases() -> Iterator[Case]:
    """All worlds with all policies that fit them."""
    for kappa in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9):
        yield Case(f"servo κ={kappa}", partial(servo, kappa=kappa))
    for delay in (1, 2, 3):
        for kappa in (0.2, 0.5, 0.8):
            yield Case(f"servo κ={kappa} delay {delay}", partial(servo, kappa=kappa, delay=delay), delay)
    yield Case("servo κ=0.3 noisy", partial(servo, noise=5e-3))
    yield Case("servo κ=0.3 without tremor", partial(servo, tremor=0.0))
    yield Case("servo κ=0.3 noise-free", partial(servo, noise=0.0))
    yield Case("servo κ=0.3 one joint", partial(servo, size=1))
    yield Case("servo κ=0.3 few", partial(servo, episodes=10, length=100))
    yield Case("servo spring", partial(servo, kappa=0.1, damping=0.7))
    plane = np.eye(2)
    planes: dict[str, Callable[[], Policy]] = {
        "iid": lambda: partial(iid, 2),
        "smooth": lambda: Smooth(2),
        "very smooth": lambda: Smooth(2, 0.98),
        "feedback": lambda: Feedback(plane, 0.3),
        "feedback to goals": lambda: Feedback(plane, 0.3, goal=1.0),
        "scripted": lambda: Feedback(2 * plane, 0.0, goal=1.0),
        "scripted clipped": lambda: Feedback(4 * plane, 0.0, goal=1.0, clip=True),
        "nearly scripted": lambda: Feedback(2 * plane, 0.02, goal=1.0),
    }
    for name, policy in planes.items():
        yield Case(f"velocity {name}", lambda g, policy=policy: velocity(g, policy()))
        yield Case(f"velocity noise-free {name}", lambda g, policy=policy: velocity(g, policy(), noise=0.0))
    for dampened in (0.0, 10.0):
        for noise in (0.0, 0.3):
            label = f"{'PD' if dampened else 'P'} {'noisy' if noise else 'scripted'}"
            planes[label] = lambda d=dampened, n=noise: Feedback(0.3 * plane, n, damping=d)
    for seen in ("all", "places"):
        for name, policy in planes.items():
            # Of all coordinates the gain would be another one.
            if seen == "all" and not name.startswith(("iid", "smooth", "very")):
                continue
            for noise in (0.0, 0.01):
                label = f"torque {seen} {name}{'' if noise else ' noise-free'}"
                yield Case(label, lambda g, p=policy, n=noise, s=seen: torque(g, p(), n, s))
        yield Case(f"torque {seen} iid exact", lambda g, s=seen: torque(g, partial(iid, 2), seen=s, exact=True))
        yield Case(f"torque {seen} smooth exact", lambda g, s=seen: torque(g, Smooth(2), seen=s, exact=True))
    both = np.concatenate([0.5 * plane, plane], axis=1)
    for noise in (0.0, 0.01):
        for spread in (0.0, 0.02, 0.3):
            label = f"torque all PD policy {spread}{'' if noise else ' noise-free'}"
            yield Case(label, lambda g, n=noise, s=spread: torque(g, Feedback(both, s), n))
    for size, actions in ((2, 2), (2, 1), (4, 2), (8, 3)):
        for angle in (0.1, 0.6, 1.5):
            yield Case(
                f"rotating {size}×{actions} angle {angle} iid",
                lambda g, s=size, a=actions, w=angle: rotating(g, partial(iid, a), s, a, angle=w),
            )
        yield Case(f"rotating {size}×{actions} smooth", lambda g, s=size, a=actions: rotating(g, Smooth(a), s, a))
        for spread in (0.0, 0.3):
            yield Case(
                f"rotating {size}×{actions} feedback noise {spread}",
                lambda g, s=size, a=actions, n=spread: rotating(
                    g, Feedback(0.3 * np.ones((a, s)) / np.sqrt(s), n), s, a
                ),
            )
    for spread in (0.0, 0.1, 1.0):
        yield Case(f"no effect, feedback noise {spread}", lambda g, s=spread: wandering(g, Feedback(0.3 * plane, s)))
    yield Case("no effect, iid", lambda g: wandering(g, partial(iid, 2)))
    yield Case("no effect, damping", lambda g: wandering(g, Feedback(0.3 * plane, 0.05, damping=3.0)))
    yield Case("unicycle iid", lambda g: unicycle(g, partial(iid, 2)))
    yield Case("unicycle smooth", lambda g: unicycle(g, Smooth(2)))
    yield Case("pendulum iid", lambda g: pendulum(g, partial(iid, 1)))
    yield Case("pendulum smooth", lambda g: pendulum(g, Smooth(1)))
    yield Case("pendulum scripted", lambda g: pendulum(g, _swing))
    yield Case(
        "pendulum feedback",
        lambda g: pendulum(g, lambda h, t, r: np.clip(_swing(h, t, r) + 0.3 * r.normal(size=1), -1, 1)),
    )
    yield Case("mountain car iid", lambda g: mountain_car(g, partial(coins, 3)))
    yield Case("mountain car sticky", lambda g: mountain_car(g, Sticky(3)))
    yield Case("mountain car smooth", lambda g: mountain_car(g, Smooth(1), discrete=False))
    yield Case("cartpole iid", lambda g: cartpole(g, partial(coins, 2)))
    yield Case("cartpole sticky", lambda g: cartpole(g, Sticky(2)))
    for epsilon in (0.0, 0.1, 0.4):
        yield Case(f"mountain car pumped ε={epsilon}", lambda g, e=epsilon: mountain_car(g, scripted(_pump, 3, e)))
        yield Case(f"cartpole balanced ε={epsilon}", lambda g, e=epsilon: cartpole(g, scripted(_balance, 2, e)))


def recorded(recording: Recording, shift: int) -> Episodes:
    """Return a recording as episodes; ``shift`` 1 puts the action of the row before into each row, −1 of the next."""
    rows, actions, lengths = [], [], []
    for seen, taken in zip(*recording, strict=True):
        # A row too few at either end rather than an action that was never taken.
        if len(taken) < 4:
            continue
        first, last = max(0, shift), len(taken) + min(0, shift)
        rows.append(seen[first : last + 1])
        column = taken[first - shift : last - shift]
        actions.append(np.concatenate([column, column[-1:]]))
        lengths.append(last + 1 - first)
    taken = np.concatenate(actions)
    return assemble(
        np.concatenate(rows).astype(np.float32),
        taken if taken.dtype.kind == "i" else taken.astype(np.float32),
        np.array(lengths),
        source="simulation",
    )
