"""The action-conditioned co-occurrence matrix of a finite world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64, Int64

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class FiniteWorld:
    """A finite world whose every quantity is computable.

    Raises
    ------
    ValueError
        If shapes disagree, a law is negative or does not sum to 1, or p has a zero (M̄ divides by √p).
    """

    transition: NDArray[np.float64]
    """(A, N, N) P(x'|x, a)"""
    context_law: NDArray[np.float64]
    """(N,) p(x) > 0, the sampling law of contexts (paper: w(x))."""
    policy: NDArray[np.float64]
    """(A,) π(a), the behaviour policy; it does not look at x."""
    goal_groups: NDArray[np.int64]
    """(N,) Label of each observation: a goal counts as reached on any observation of its group."""
    null_action: int | None = None
    """The action that does nothing; None where the world has none."""

    def __post_init__(self) -> None:
        actions, states = self.transition.shape[0], self.transition.shape[-1]
        if (
            self.transition.shape != (actions, states, states)
            or self.context_law.shape != (states,)
            or self.policy.shape != (actions,)
        ):
            raise ValueError(
                f"expected transition (A, N, N), context_law (N,), policy (A,); got {self.transition.shape}, "
                f"{self.context_law.shape}, {self.policy.shape}"
            )
        if self.goal_groups.shape != (states,):
            raise ValueError(f"expected one goal group per observation, ({states},); got {self.goal_groups.shape}")
        for name, law in (("transition", self.transition), ("context_law", self.context_law), ("policy", self.policy)):
            check_law(name, law)
        if self.context_law.min() <= 0:
            raise ValueError(
                f"context_law must be positive everywhere, as M̄ divides by √p; {int((self.context_law <= 0).sum())} "
                "observations have probability 0: leave them out of the world"
            )

    @property
    def states(self) -> int:
        """N, the number of observations."""
        return self.transition.shape[1]

    @property
    def actions(self) -> int:
        """|A|, the number of actions."""
        return self.transition.shape[0]


def check_law(name: str, law: np.ndarray) -> None:
    """Refuse rows, along the last axis, that are no probabilities, naming the worst one.

    Raises
    ------
    ValueError
        If an entry is negative or not finite, or a row does not sum to 1.
    """
    rows = law.reshape(-1, law.shape[-1])
    if not np.isfinite(rows).all() or rows.min() < 0:
        place = np.unravel_index(int(np.argmin(np.nan_to_num(law, nan=-np.inf, posinf=-np.inf))), law.shape)
        entry = f"{name}[{', '.join(str(int(index)) for index in place)}] is {law[place]:.3g}"
        raise ValueError(f"expected probabilities, finite and not negative; {entry}")
    departure = np.abs(rows.sum(-1) - 1)
    worst = np.unravel_index(int(departure.argmax()), law.shape[:-1])
    if departure.max() > _TOLERANCE:
        where = f"row [{', '.join(str(int(index)) for index in worst)}] of {name}" if worst else name
        raise ValueError(
            f"expected probabilities that sum to 1; {where} sums to {law[worst].sum():.6g}: divide each row by its sum"
        )


def next_law(world: FiniteWorld) -> Float64[np.ndarray, "A N"]:
    """Law of the next observation under each action, q_a(x') = Σ_x p(x) P(x'|x, a)."""
    return np.einsum("x,axy->ay", world.context_law, world.transition)


def negative_law(world: FiniteWorld, negatives: Negatives) -> Float64[np.ndarray, "A N"]:
    """Law of the independent x' in the spectral loss: q_a, or the pooled q = Σ_a π(a) q_a for every action.

    Raises
    ------
    ValueError
        If the negatives are pooled and miss an observation that some action leads to.
    """
    law = next_law(world)
    if negatives == "same_action":
        return law
    pooled = world.policy @ law
    unseen = (pooled == 0) & (law > 0).any(0)
    if unseen.any():
        raise ValueError(
            f"pooled negatives never show observation {int(unseen.argmax())}, which an action of probability 0 leads "
            "to, so its density is infinite: give every action a positive probability, or use same_action negatives"
        )
    return np.repeat(pooled[None], world.actions, axis=0)


def co_occurrence(world: FiniteWorld) -> Float64[np.ndarray, "A N N"]:
    """M(a)[x, x'] = p(x) P(x'|x, a) (arXiv:2606.27014, eq. 5)."""
    return world.context_law[None, :, None] * world.transition


def normalised_co_occurrence(world: FiniteWorld, negatives: Negatives = "same_action") -> Float64[np.ndarray, "A N N"]:
    """M̄(a) = D_p^{-1/2} M(a) D_q^{-1/2}.

    Columns with q(x') = 0 are zero rather than dropped, which leaves every singular value but zeros as it is.
    """
    law = negative_law(world, negatives)
    # M is zero wherever q is, so any positive stand-in gives the zero column.
    safe = np.where(law > 0, law, 1.0)
    # In place: each of these tables is |A| N² numbers, and a large world has few to spare.
    scale = world.context_law[None, :, None] * safe[:, None, :]
    matrices = co_occurrence(world)
    matrices /= np.sqrt(scale, out=scale)
    return matrices


def stationary_law(
    transition: Float64[np.ndarray, "A N N"], policy: Float64[np.ndarray, " A"]
) -> Float64[np.ndarray, " N"]:
    """Stationary law of the behaviour policy: p = p Σ_a π(a) P(·|·, a).

    Raises
    ------
    ValueError
        If the chain has more than one recurrent class, so that the law is not unique.
    """
    chain = np.einsum("a,axy->xy", policy, transition)
    states = len(chain)
    system = np.vstack([chain.T - np.eye(states), np.ones(states)])
    right = np.zeros(states + 1)
    right[-1] = 1.0
    law, _, rank, _ = np.linalg.lstsq(system, right, rcond=1e-12)
    if rank < states:
        raise ValueError(
            f"the behaviour policy has no unique stationary law: rank {rank} of {states}; connect the states"
        )
    law = np.clip(law, 0.0, None)
    return law / law.sum()


def recurrent_states(
    transition: Float64[np.ndarray, "A N N"], policy: Float64[np.ndarray, " A"]
) -> Int64[np.ndarray, " R"]:
    """Observations that the behaviour policy visits for ever, in increasing order: where a stationary law is positive.

    They are the one communicating class of Σ_a π(a) P(·|·, a) that nothing leads out of. Where every action has a
    positive probability no action leads out of it, so the kernel restricted to it is a kernel.

    Raises
    ------
    ValueError
        If there are several such classes, so that the stationary law is not unique.
    """
    edges = sparse.csr_array(np.tensordot(policy, transition, 1) > 0)
    count, label = csgraph.connected_components(edges, directed=True, connection="strong")
    start, end = label[np.repeat(np.arange(len(label)), np.diff(edges.indptr))], label[edges.indices]
    left = np.zeros(count, dtype=bool)
    left[start[start != end]] = True
    closed = np.flatnonzero(~left)
    if len(closed) > 1:
        sizes = sorted((int((label == each).sum()) for each in closed), reverse=True)
        raise ValueError(
            f"the behaviour policy has no unique stationary law: it stays for ever in one of {len(closed)} classes, of "
            f"{', '.join(map(str, sizes[:5]))}{', …' if len(sizes) > 5 else ''} observations: connect them, for "
            "example by restarting from a start law wherever an episode ends, or keep one of them"
        )
    return np.flatnonzero(label == closed[0]).astype(np.int64)
