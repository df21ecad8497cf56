"""Any kernel from a file of arrays, as an exact world."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jepa_scale.foreign import Refused, listed, reading
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.graph import check_law, recurrent_states
from jepa_scale.theory.planning import check_enumerable
from jepa_scale.worlds.base import ExactWorld

TRIPLETS = ("P_action", "P_state", "P_next_state", "P_probability")
"""Arrays of one length that list the possible transitions; what is listed twice is added."""

_KEYS = ("P", *TRIPLETS, "p", "observations", "goal_groups")
_STATIONARY = 1e-9


@dataclass(frozen=True)
class Table:
    """A kernel restricted to what its behaviour chain visits for ever."""

    kernel: Float64[np.ndarray, "A N N"]
    law: Float64[np.ndarray, " N"] | None
    """p, where the file says it."""
    kept: Int64[np.ndarray, " N"]
    """Row of the file's arrays that each observation is."""
    observations: Float64[np.ndarray, "N D"] | None
    goal_groups: Int64[np.ndarray, " N"] | None


@dataclass(frozen=True)
class Tabular(ExactWorld):
    """P(x'|x, a) from a ``.npz``.

    The file holds the kernel as ``P`` (A, N, N) or, where most transitions are impossible, as the four arrays of
    ``TRIPLETS``; beside it, if wanted,

    * ``p`` (N,), the sampling law of contexts. It must be stationary under the uniform policy, or trajectories would
      not keep it; it is needed only where the chain has several stationary laws, and then chooses one.
    * ``observations`` (N, D), the vector that each x is seen as; one-hot without it. The resolution of observations is
      exact: no sensor noise is added.
    * ``goal_groups`` (N,), whole numbers: a goal counts as reached anywhere in its group.

    Observations that the uniform policy leaves for good have p = 0, and M̄ divides by √p: they are left out, with their
    rows of every array. ``recurrent_states`` says why what remains is a kernel.

    Raises
    ------
    ValueError
        If the file cannot be read, holds pickled objects, lacks the kernel, its checksum is another, shapes disagree,
        rows are no probabilities, or there is no unique stationary law and no ``p``.
    """

    path: str | None = None
    """The .npz file, relative to where the command runs."""
    checksum: str | None = None
    """SHA-256 of the file, in hexadecimal, or the first digits of it. Given here it is part of a run's identity, which
    a changed file under the same path otherwise is not."""
    null_action_index: int | None = None
    """The action that does nothing, if there is one."""

    def __post_init__(self) -> None:
        actions = len(self.table.kernel)
        if self.null_action_index is not None and not 0 <= self.null_action_index < actions:
            raise ValueError(
                f"expected an action 0 … {actions - 1} or null, got null_action_index={self.null_action_index}"
            )

    @cached_property
    def table(self) -> Table:
        """What the file says, checked; read once."""
        return restrict(_read(self.path, self.checksum), str(self.path))

    @property
    def null_action(self) -> int | None:
        """The action named so, if any."""
        return self.null_action_index

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a) between the observations that are kept."""
        return self.table.kernel

    def context_law(
        self, kernel: Float64[np.ndarray, "A N N"], policy: Float64[np.ndarray, " A"]
    ) -> Float64[np.ndarray, " N"]:
        """The file's p, or the only stationary law."""
        return super().context_law(kernel, policy) if self.table.law is None else self.table.law

    def goal_groups(self, states: int) -> np.ndarray:
        """The file's, or each observation by itself."""
        return super().goal_groups(states) if self.table.goal_groups is None else self.table.goal_groups

    @cached_property
    def observations(self) -> Float64[np.ndarray, "N D"]:
        """The file's vectors, or one-hot ones."""
        return np.eye(self.finite.states) if self.table.observations is None else self.table.observations


def restrict(arrays: Mapping[str, np.ndarray], source: str) -> Table:
    """Check the arrays of a file and keep what the uniform policy visits for ever.

    Raises
    ------
    ValueError
        As ``Tabular``; messages start with ``source``.
    """
    try:
        kernel = _kernel(arrays)
        states, policy = kernel.shape[1], np.full(len(kernel), 1 / len(kernel))
        law = _law(arrays["p"], kernel) if "p" in arrays else None
        kept = recurrent_states(kernel, policy) if law is None else np.flatnonzero(law > 0).astype(np.int64)
        if len(kept) < states:
            # Rows first: a copy of both axes at once would hold an index for every entry.
            kernel = kernel[:, kept][:, :, kept]
        return Table(
            kernel,
            None if law is None else law[kept],
            kept,
            _observations(arrays["observations"], states)[kept] if "observations" in arrays else None,
            _groups(arrays["goal_groups"], states)[kept] if "goal_groups" in arrays else None,
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _read(path: str | None, checksum: str | None) -> dict[str, np.ndarray]:
    if path is None:
        raise ValueError("expected a file with a kernel, got path=null: give world.path=FILE.npz")
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"no file {file}: expected an .npz with P (A, N, N) or {', '.join(TRIPLETS)}")
    if checksum is not None:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if not checksum or not found.startswith(checksum.lower()):
            raise ValueError(f"{file}: expected the file of {checksum=}, got {found}: the file is another than it was")
    with reading(file, "an .npz file, written with numpy.savez"):
        loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError(f"{file}: expected an .npz file with named arrays, got one array: use numpy.savez(FILE, P=…)")
    with loaded:
        if not {"P", *TRIPLETS} & set(loaded.files):
            held = listed(loaded.files) or "nothing"
            raise ValueError(f"{file}: expected P (A, N, N) or {', '.join(TRIPLETS)}, got {held}: rename the arrays")
        return {name: _array(loaded, name, file) for name in _KEYS if name in loaded.files}


def _array(loaded: np.lib.npyio.NpzFile, name: str, file: Path) -> np.ndarray:
    with reading(file, f"the array {name}"):
        try:
            array = loaded[name]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise Refused(
                f"{file}: {name} holds pickled objects, which are not read, as unpickling runs code: save a plain "
                "array of numbers"
            ) from None
    if not isinstance(array, np.ndarray):
        # The bytes of a member that is no array.
        raise ValueError(f"{file}: expected an array {name}, got something else: write it with numpy.savez")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{file}: expected real numbers in {name}, got {array.dtype}: convert them")
    return array


def _kernel(arrays: Mapping[str, np.ndarray]) -> Float64[np.ndarray, "A N N"]:
    if "P" in arrays:
        kernel = arrays["P"]
        if kernel.ndim != 3 or kernel.shape[1] != kernel.shape[2] or not kernel.size:
            raise ValueError(
                f"expected P (A, N, N) with P[a, x, x'] = P(x'|x, a), got {kernel.shape}: move the action's axis first"
            )
        kernel = kernel.astype(np.float64, copy=False)
    else:
        kernel = _from_triplets(arrays)
    check_law("P", kernel)
    return kernel


def _from_triplets(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    missing = [name for name in TRIPLETS if name not in arrays]
    if missing:
        raise ValueError(f"expected P (A, N, N) or all of {', '.join(TRIPLETS)}; missing are {', '.join(missing)}")
    listed = [arrays[name] for name in TRIPLETS]
    if len({array.shape for array in listed}) > 1 or listed[0].ndim != 1 or not listed[0].size:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(TRIPLETS, listed, strict=True))
        raise ValueError(f"expected one entry per transition in each array, got {shapes}")
    *places, probability = listed
    for name, index in zip(TRIPLETS, places, strict=False):
        if index.dtype.kind not in "iu" or index.min() < 0:
            raise ValueError(f"expected whole numbers ≥ 0 in {name}, got {index.dtype}, least {index.min()}")
    action, state, following = (index.astype(np.int64) for index in places)
    actions, states = int(action.max()) + 1, int(max(state.max(), following.max())) + 1
    # Before A·N² numbers are asked for: a few triplets can name a very large world.
    check_enumerable(actions, states, 1)
    kernel = np.zeros((actions, states, states))
    np.add.at(kernel, (action, state, following), probability.astype(np.float64))
    return kernel


def _law(law: np.ndarray, kernel: np.ndarray) -> Float64[np.ndarray, " N"]:
    states = kernel.shape[1]
    if law.shape != (states,):
        raise ValueError(f"expected p (N,) = ({states},), got {law.shape}")
    law = law.astype(np.float64)
    check_law("p", law)
    departure = np.abs(law @ kernel.mean(0) - law)
    if departure.max() > _STATIONARY:
        worst = int(departure.argmax())
        raise ValueError(
            f"expected p to be stationary under the uniform policy, but one step changes p[{worst}] = {law[worst]:.6g} "
            f"by {departure[worst]:.2g}: trajectories would not keep it; leave p out and it is computed"
        )
    return law


def _observations(vectors: np.ndarray, states: int) -> Float64[np.ndarray, "N D"]:
    if vectors.ndim != 2 or len(vectors) != states or not vectors.shape[1]:
        raise ValueError(f"expected observations (N, D) with N = {states}, got {vectors.shape}")
    vectors = vectors.astype(np.float64)
    if not np.isfinite(vectors).all():
        raise ValueError(f"expected finite observations, got {vectors[~np.isfinite(vectors)][0]} among them")
    return vectors


def _groups(groups: np.ndarray, states: int) -> Int64[np.ndarray, " N"]:
    if groups.shape != (states,) or groups.dtype.kind not in "iu":
        raise ValueError(f"expected goal_groups ({states},) of whole numbers, got {groups.shape} of {groups.dtype}")
    return groups.astype(np.int64)
