"""Try every statement on random worlds and models, and keep the smallest counterexample of each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from jepa_scale.records import Negatives
from jepa_scale.theory.attacks import ATTACKS
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.model import TabularModel
from jepa_scale.theory.shrink import VISIBLE, shrink
from jepa_scale.theory.statements import STATEMENTS, Statement, StatementOutcome, statement
from jepa_scale.theory.trial import Trial, to_json

Family = Callable[[np.random.Generator, int], FiniteWorld]

LARGEST = 8
"""Observations of the largest random world."""

_CHUNK = 50


@dataclass
class Tally:
    """What became of one statement in one family of worlds under one family of models."""

    trials: int = 0
    met: int = 0
    """Trials in which every hypothesis held."""
    violations: int = 0
    """Of those, the bound failed."""
    violations_unmet: int = 0
    """The bound failed where a hypothesis did: what the hypothesis is there for."""
    vacuous: int = 0
    """Of ``met``, the bound said nothing."""
    looseness: list[float] = field(default_factory=list)
    """Bound/quantity where the hypotheses held and the quantity was not 0."""

    def add(self, outcome: StatementOutcome) -> None:
        """Count one trial."""
        self.trials += 1
        if not outcome.bound.applies:
            self.violations_unmet += outcome.violated
            return
        self.met += 1
        self.violations += outcome.violated
        self.vacuous += outcome.bound.vacuous
        if np.isfinite(outcome.looseness):
            self.looseness.append(outcome.looseness)

    def merge(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.trials + other.trials,
            self.met + other.met,
            self.violations + other.violations,
            self.violations_unmet + other.violations_unmet,
            self.vacuous + other.vacuous,
            self.looseness + other.looseness,
        )


@dataclass(frozen=True)
class Counterexample:
    """A trial in which a statement fails although every hypothesis that it names holds."""

    statement: str
    trial: Trial
    bound: float
    actual: float
    excess: float
    """By how much the statement fails however the planner breaks ties."""

    family: str
    """Of the world that it was found on."""

    @property
    def rank(self) -> tuple[bool, int, int, int, int, float]:
        """Those in plain sight first, of these the smaller, then the clearer one."""
        return (self.excess < VISIBLE, *self.trial.size, -self.excess)


Tallies = dict[tuple[str, str, str], Tally]
"""By statement, family of worlds, family of models."""

Smallest = dict[tuple[str, str], Counterexample]
"""By statement and family of worlds."""


@dataclass(frozen=True)
class Findings:
    """Result of an attack."""

    tallies: Tallies
    counterexamples: Mapping[str, Counterexample]
    """The smallest for each statement that failed."""
    seed: int

    def total(self, statement_name: str, world: str | None = None, model: str | None = None) -> Tally:
        """Tally of a statement over all worlds and models, or over some."""
        summed = Tally()
        for (name, family, attack), tally in self.tallies.items():
            if name == statement_name and world in (None, family) and model in (None, attack):
                summed = summed.merge(tally)
        return summed


@dataclass(frozen=True)
class _Task:
    family: Family
    family_name: str
    attack: str
    trials: int
    seed: int


def attack_theory(
    families: Mapping[str, Family],
    trials: int,
    seed: int,
    workers: int = 1,
    advance: Callable[[int], None] = lambda done: None,
    models: Iterable[str] = tuple(ATTACKS),
) -> Findings:
    """Try every statement ``trials`` times in each family of worlds under each family of models.

    The same seed gives the same findings whatever the number of workers. ``advance`` is told the trials just done. A
    counterexample is shrunk before it is returned, see ``shrink``.

    Raises
    ------
    ValueError
        If fewer than one trial is asked for or there is no family.
    """
    if trials < 1 or not families:
        raise ValueError(
            f"expected at least one trial and one family of worlds, got {trials=}, {len(families)} families"
        )
    tasks = list(_tasks(families, trials, seed, models))
    tallies: Tallies = {}
    smallest: Smallest = {}
    for task, (found, examples) in zip(tasks, _mapped(tasks, workers), strict=True):
        for key, tally in found.items():
            tallies[key] = tallies.get(key, Tally()).merge(tally)
        for example in examples:
            _keep(smallest, example)
        advance(task.trials)
    return Findings(tallies, _plainest(smallest.values()), seed)


def _tasks(families: Mapping[str, Family], trials: int, seed: int, models: Iterable[str]) -> Iterator[_Task]:
    for place, (name, family) in enumerate(families.items()):
        for number, attack in enumerate(models):
            for start in range(0, trials, _CHUNK):
                # One stream per chunk, whoever works on it.
                stream = np.random.SeedSequence([seed, place, number, start]).generate_state(1, np.uint64)[0]
                yield _Task(family, name, attack, min(_CHUNK, trials - start), int(stream))


def _mapped(tasks: list[_Task], workers: int) -> Iterator[tuple[Tallies, list[Counterexample]]]:
    if workers == 1:
        yield from map(_work, tasks)
        return
    # Forking a process that has threads (a progress bar has one) can deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_work, tasks)


def _work(task: _Task) -> tuple[Tallies, list[Counterexample]]:
    generator = np.random.default_rng(task.seed)
    tallies: Tallies = {}
    smallest: Smallest = {}
    for _ in range(task.trials):
        trial = draw(generator, task.family, task.attack)
        for claim in STATEMENTS:
            outcome = claim.evaluate(trial)
            if outcome is None:
                continue
            tallies.setdefault((claim.name, task.family_name, task.attack), Tally()).add(outcome)
            if outcome.refutes and not claim.allowed:
                _keep(smallest, _counterexample(claim, trial, outcome, task.family_name))
    # Caches of the trials stay behind: they are large, and cheap to compute again.
    return tallies, [_without_cache(example) for example in smallest.values()]


def draw(generator: np.random.Generator, family: Family, attack: str) -> Trial:
    """One random trial; the width is N in a third of them, as some claims are about exact models."""
    world = family(generator, int(generator.integers(2, LARGEST + 1)))
    if generator.random() < 0.5:
        # Families choose evenly; shared encoders and pooled negatives look at π.
        world = replace(world, policy=generator.dirichlet(np.ones(world.actions)))
    negatives: Negatives = "pooled" if generator.random() < 0.2 else "same_action"
    k = world.states if generator.random() < 1 / 3 else int(generator.integers(1, world.states + 1))
    model: TabularModel = ATTACKS[attack](generator, world, negatives, k)
    return Trial(
        world=world,
        model=model,
        horizon=int(generator.integers(2, 4)),
        goal_law=("uniform", "data", "reachable")[int(generator.integers(3))],
        score=("inner", "distance")[int(generator.integers(2))],
        negatives=negatives,
        seed=int(generator.integers(2**31)),
    )


def _keep(smallest: Smallest, example: Counterexample) -> None:
    place = (example.statement, example.family)
    held = smallest.get(place)
    if held is None or example.rank < held.rank:
        smallest[place] = example


def _without_cache(example: Counterexample) -> Counterexample:
    return replace(example, trial=example.trial.with_parts(example.trial.world, example.trial.model))


def _counterexample(claim: Statement, trial: Trial, outcome: StatementOutcome, family: str) -> Counterexample:
    return Counterexample(claim.name, trial, outcome.bound.value, outcome.actual, outcome.excess, family)


def _plainest(found: Iterable[Counterexample]) -> dict[str, Counterexample]:
    """One for each statement: of the fewest observations and actions, and of these the shortest to write down."""
    plainest: dict[str, tuple[tuple[bool, int, int, int], Counterexample]] = {}
    for example in found:
        claim = statement(example.statement)
        trial = shrink(claim, example.trial)
        outcome = claim.evaluate(trial)
        assert outcome is not None
        shrunk = _counterexample(claim, trial, outcome, example.family)
        length = len(to_json(trial, claim.name, {}))
        order = (shrunk.excess < VISIBLE, trial.world.states, trial.world.actions, length)
        if claim.name not in plainest or order < plainest[claim.name][0]:
            plainest[claim.name] = (order, shrunk)
    return {name: example for name, (_, example) in plainest.items()}
