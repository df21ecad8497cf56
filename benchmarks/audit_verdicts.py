"""Verdicts and totals of audits on systems whose truth is known: python benchmarks/audit_verdicts.py [SEEDS] [FIRST].

For each kind of system and seed one recording. The truth of a verdict is that of ``WidthVerdict`` with the exact
correlations: the least k with 95 % of E, and E/E⁺ with all functions of the state, or the whole past, for E⁺. Beside
the audit the simplest alternative: ridge regression [z, a] → z', and the number of principal components of its
predictions that hold 99 % of their variance, with the same rule (more than half of the width: in range).
"""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import jepa_scale
from jepa_scale.theory.gaussian import LinearGaussian

SHARE = 0.95


@dataclass(frozen=True)
class Case:
    """A recording and its truth."""

    arrays: dict[str, np.ndarray]
    squares: np.ndarray
    """ρ_i² of linear functions of z⁺ and (z, a), decreasing."""
    held: float = 1.0
    """E/E⁺"""
    fixed: np.ndarray | None = None
    """ρ_i² at a fixed action, mean over actions, where they differ from those of (z, a): the audit's T."""

    @property
    def needed(self) -> int:
        """Width needed."""
        total = self.squares.sum()
        return int(np.argmax(np.cumsum(self.squares) >= SHARE * total - 1e-12) + 1) if total > 1e-9 else 0

    @property
    def verdict(self) -> str:
        """Right verdict."""
        if self.held < SHARE:
            return "too narrow"
        if not self.needed:
            return "cannot tell"
        return "over-provisioned" if self.arrays["z"].shape[-1] > 2 * self.needed else "in range"


def _series(generator: np.random.Generator, rho: np.ndarray, episodes: int, length: int) -> np.ndarray:
    x = [generator.normal(size=(episodes, len(rho)))]
    for _ in range(length):
        x.append(rho * x[-1] + np.sqrt(1 - rho**2) * generator.normal(size=x[0].shape))
    return np.stack(x, 1)


def _case(generator: np.random.Generator, rho: np.ndarray, z: np.ndarray, **truth: object) -> Case:
    mixing = generator.normal(size=(z.shape[-1], z.shape[-1]))
    actions = generator.integers(generator.integers(1, 5), size=(z.shape[0], z.shape[1] - 1))
    return Case({"z": (z @ mixing).astype(np.float32), "action": actions}, np.sort(rho**2)[::-1], **truth)  # type: ignore[arg-type]


def _size(generator: np.random.Generator) -> tuple[int, int]:
    length = int(generator.integers(10, 60))
    return int(generator.choice([3000, 8000, 20000]) / length), length


def decaying(generator: np.random.Generator) -> Case:
    """Independent modes that decay as a power law or geometrically."""
    width = int(generator.choice([8, 16, 32, 64, 128]))
    index = np.arange(1, width + 1)
    rho = generator.choice([0.98 * index**-0.5, 0.98 * index**-1.0, 0.97 * 0.85**index, 0.98 * 0.97**index])
    return _case(generator, rho, _series(generator, rho, *_size(generator)))


def ranked(generator: np.random.Generator) -> Case:
    """Some modes among noise."""
    width = int(generator.choice([8, 16, 32, 64, 128]))
    rank = int(generator.integers(0, width + 1))
    rho = np.append(generator.uniform(0.3, 0.98, rank), np.zeros(width - rank))
    return _case(generator, rho, _series(generator, rho, *_size(generator)))


def duplicated(generator: np.random.Generator) -> Case:
    """Coordinates that repeat linear functions of others."""
    width = int(generator.integers(2, 12))
    rho = generator.uniform(0.2, 0.97, width)
    z = _series(generator, rho, *_size(generator))
    copies = z @ generator.normal(size=(width, int(generator.integers(1, 4 * width))))
    case = _case(generator, rho, z)
    return Case(
        {"z": np.concatenate([z, copies], -1).astype(np.float32), "action": case.arrays["action"]}, case.squares
    )


def leaking(generator: np.random.Generator) -> Case:
    """A clock or names of trajectories beside modes."""
    width, (episodes, length) = int(generator.integers(3, 24)), _size(generator)
    rho = generator.uniform(0.0, 0.97, width)
    z = _series(generator, rho, episodes, length)
    clock = np.broadcast_to(np.arange(length + 1)[None, :, None] / length, (episodes, length + 1, 1))
    names = np.broadcast_to(generator.normal(size=(episodes, 1, 3)), (episodes, length + 1, 3))
    leak = clock if generator.random() < 0.5 else names
    return _case(generator, np.append(rho, np.ones(leak.shape[-1])), np.concatenate([z, leak], -1))


def _controlled(generator: np.random.Generator, discrete: bool) -> Case:
    size, actions, noise = int(generator.integers(3, 10)), int(generator.integers(1, 3)), int(generator.integers(0, 12))
    turn = np.linalg.qr(generator.normal(size=(size, size)))[0]
    matrix = turn * generator.uniform(0.3, 0.95, size) @ np.linalg.qr(generator.normal(size=(size, size)))[0]
    matrix *= 0.95 / max(0.95, np.abs(np.linalg.eigvals(matrix)).max())
    control = generator.normal(size=(size, actions))
    covariance = generator.uniform(0.2, 1.0) * np.eye(size)
    law = LinearGaussian(matrix, control, np.eye(actions), covariance)
    episodes, length = _size(generator)
    x = [generator.multivariate_normal(np.zeros(size), law.stationary, episodes)]
    labels = generator.integers(2**actions, size=(episodes, length))
    signs = np.array([[1.0 if label >> bit & 1 else -1.0 for bit in range(actions)] for label in range(2**actions)])
    acting = signs[labels] if discrete else generator.normal(size=(episodes, length, actions))
    for t in range(length):
        moved = x[-1] @ matrix.T + acting[:, t] @ control.T
        x.append(moved + generator.normal(size=moved.shape) @ np.linalg.cholesky(covariance).T)
    z = np.concatenate([np.stack(x, 1), generator.normal(size=(episodes, length + 1, noise))], -1)
    case = _case(generator, np.append(law.joint_correlations, np.zeros(noise)), z)
    fixed = law.fixed_action_correlations**2 if discrete else None
    return Case({"z": case.arrays["z"], "action": labels if discrete else acting}, case.squares, fixed=fixed)


def controlled(generator: np.random.Generator) -> Case:
    """x⁺ = A x + B a + noise with normal actions."""
    return _controlled(generator, False)


def switched(generator: np.random.Generator) -> Case:
    """The same with discrete actions."""
    return _controlled(generator, True)


def chain(generator: np.random.Generator) -> Case:
    """A finite chain with actions, embedded by random functions of the state, fewer or more than it has states."""
    states, actions = int(generator.integers(6, 24)), int(generator.integers(1, 4))
    width = int(generator.integers(2, 2 * states))
    kernel = generator.dirichlet(np.full(states, generator.choice([0.1, 0.3])), size=(actions, states))
    kernel = 0.5 * kernel + 0.5 * np.eye(states)[None]
    mean = kernel.mean(0)
    law = np.linalg.matrix_power(mean, 4096)[0]
    embedding = generator.normal(size=(states, width))
    episodes, length = _size(generator)
    x = generator.choice(states, size=episodes, p=law)
    path, labels = [x], generator.integers(actions, size=(episodes, length))
    for t in range(length):
        cumulative = kernel[labels[:, t], path[-1]].cumsum(-1)
        path.append(np.minimum((cumulative < generator.random((episodes, 1))).sum(1), states - 1))
    z = embedding[np.stack(path, 1)]
    # Weights of (x, a), functions of them, and E[z⁺|x, a].
    weight = np.tile(law, actions) / actions
    linear = np.kron(np.eye(actions), np.hstack([np.ones((states, 1)), embedding]))
    every = np.eye(actions * states)
    expected = (kernel @ embedding).reshape(-1, width)
    whole = np.cov(embedding.T, aweights=law, ddof=0).reshape(width, width)
    squares = [_squares(features, weight, expected - law @ embedding, whole) for features in (linear, every)]
    return Case({"z": z, "action": labels}, squares[0], float(squares[0].sum() / squares[1].sum()), np.array([]))


def _squares(features: np.ndarray, weight: np.ndarray, expected: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """ρ_i² of functions Φ of discrete contexts and z⁺: eigenvalues of C⁻¹ KᵀG⁻¹K, G = ΦᵀWΦ, K = ΦᵀW E[z⁺]."""
    gram, cross = features.T @ (weight[:, None] * features), features.T @ (weight[:, None] * expected)
    explained = cross.T @ np.linalg.pinv(gram, rcond=1e-10) @ cross
    values, axes = np.linalg.eigh(whole)
    kept = values > 1e-10 * values[-1]
    root = axes[:, kept] / np.sqrt(values[kept])
    return np.sort(np.clip(np.linalg.eigvalsh(root.T @ explained @ root), 0, 1))[::-1]


def partial(generator: np.random.Generator) -> Case:
    """Some coordinates of a coupled linear system: what the others did is in the past only."""
    size = int(generator.integers(3, 10))
    seen = int(generator.integers(1, size + 1))
    matrix = np.linalg.qr(generator.normal(size=(size, size)))[0] * generator.uniform(0.5, 0.97, size)
    covariance = generator.uniform(0.05, 0.5) * np.eye(size)
    law = LinearGaussian(matrix, np.zeros((size, 1)), np.eye(1), covariance)
    episodes, length = _size(generator)
    x = [generator.multivariate_normal(np.zeros(size), law.stationary, episodes)]
    for _ in range(length):
        x.append(x[-1] @ matrix.T + np.sqrt(covariance[0, 0]) * generator.normal(size=x[0].shape))
    lags = [np.linalg.matrix_power(matrix, lag) @ law.stationary for lag in range(26)]
    squares = [_past(lags, seen, count) for count in (1, 25)]
    case = _case(generator, np.sqrt(squares[0]), np.stack(x, 1)[..., :seen])
    return Case(case.arrays, case.squares, float(squares[0].sum() / squares[1].sum()))


def _past(lags: list[np.ndarray], seen: int, count: int) -> np.ndarray:
    """ρ_i² of z⁺ and the last ``count`` z, from Γ(h) = Cov(x_{t+h}, x_t)."""
    block = [[lags[j - i] if j >= i else lags[i - j].T for j in range(count)] for i in range(count)]
    past = np.block([[part[:seen, :seen] for part in row] for row in block])
    cross = np.hstack([lags[lag + 1][:seen, :seen] for lag in range(count)])
    explained = cross @ np.linalg.pinv(past, rcond=1e-12) @ cross.T
    root = np.linalg.inv(np.linalg.cholesky(lags[0][:seen, :seen]))
    return np.sort(np.clip(np.linalg.eigvalsh(root @ explained @ root.T), 0, 1))[::-1]


KINDS: tuple[Callable[[np.random.Generator], Case], ...] = (
    decaying, ranked, duplicated, leaking, controlled, switched, chain, partial,
)  # fmt: skip


def simplest(case: Case) -> tuple[str, int]:
    """Verdict and width of the 99 % knee of ridge regression."""
    z, action = case.arrays["z"].astype(np.float64), case.arrays["action"]
    now, after = z[:, :-1].reshape(-1, z.shape[-1]), z[:, 1:].reshape(-1, z.shape[-1])
    acting = action.reshape(len(now), -1)
    acting = np.eye(int(acting.max()) + 1)[acting[:, 0]] if acting.dtype.kind == "i" else acting
    left, right = np.hstack([now, acting]), after - after.mean(0)
    left = left - left.mean(0)
    fitted = left @ np.linalg.solve(left.T @ left + 1e-3 * len(left) * np.eye(left.shape[1]), left.T @ right)
    values = np.linalg.svd(fitted, compute_uv=False) ** 2
    width = int(np.argmax(np.cumsum(values) >= 0.99 * values.sum()) + 1)
    return ("over-provisioned" if z.shape[-1] > 2 * width else "in range"), width


def row(kind: Callable[[np.random.Generator], Case], seed: int) -> dict[str, object]:
    """Audit one recording."""
    generator = np.random.default_rng([seed, KINDS.index(kind)])
    case = kind(generator)
    began = time.process_time()
    found = jepa_scale.audit(**case.arrays, dictionary=0, resolution=())
    seconds, verdict = time.process_time() - began, found.verdict
    energy = float(case.squares.sum())
    own = {} if case.fixed is not None and not len(case.fixed) else found.total
    total = 1 + float((case.squares if case.fixed is None else case.fixed).sum())
    if found.operators[0].name.startswith("cell") or isinstance(own, dict) or own.low is None:
        inside: float = np.nan
    else:
        inside = float(own.low <= total <= own.high)
    guess, _ = simplest(case)
    known = verdict.energy.low is not None and all(note.code != "projected" for note in verdict.notes)
    return {
        "kind": kind.__name__, "seed": seed, "rows": found.rows, "width": verdict.width, "needed": case.needed,
        "held": case.held, "truth": case.verdict, "verdict": verdict.status, "code": verdict.reason.code,
        "low": verdict.low, "high": verdict.high, "energy": energy, "energy_found": verdict.energy.value,
        "energy_inside": float(verdict.energy.low <= energy <= verdict.energy.high) if known else np.nan,
        "total_inside": inside, "simplest": guess, "seconds": seconds,
    }  # fmt: skip


def summary(rows: list[dict[str, object]]) -> str:
    """Shares by kind of system, as a table."""
    marks: dict[str, Callable[[dict], float]] = {
        "wrong": lambda row: row["verdict"] not in (row["truth"], "cannot tell"),
        "cannot tell": lambda row: row["verdict"] == "cannot tell",
        "simplest wrong": lambda row: row["simplest"] != row["truth"],
        "width inside": _width_inside,
        "E inside": lambda row: row["energy_inside"],
        "T inside": lambda row: row["total_inside"],
        "CPU s": lambda row: row["seconds"],
    }
    lines = [f"| kind | n | {' | '.join(marks)} |", "|" + "---|" * (len(marks) + 2)]
    for kind in (*(kind.__name__ for kind in KINDS), "all"):
        some = [row for row in rows if kind in (row["kind"], "all")]
        values = []
        for mark in marks.values():
            known = [float(mark(row)) for row in some]
            known = [value for value in known if not np.isnan(value)]
            values.append(f"{np.mean(known):.3f}" if known else "–")
        lines.append(f"| {kind} | {len(some)} | {' | '.join(values)} |")
    pairs = Counter((row["truth"], row["verdict"]) for row in rows)
    return "\n".join([*lines, *(f"{truth} → {said}: {count}" for (truth, said), count in sorted(pairs.items()))])  # type: ignore[misc]


def _width_inside(row: dict) -> float:
    if row["low"] is None:
        return np.nan
    return float(row["low"] <= row["needed"] <= (np.inf if row["high"] is None else row["high"]))


def main() -> None:
    """Write the table and print its summary."""
    seeds, first = (int(value) for value in (*sys.argv[1:], *("20", "0")[len(sys.argv) - 1 :]))
    rows = [row(kind, seed) for seed in range(first, first + seeds) for kind in KINDS]
    with (Path(__file__).parent / "tables" / "audit_verdicts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in one.items()} for one in rows)
    print(summary(rows))


if __name__ == "__main__":
    main()
