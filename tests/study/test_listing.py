"""What is queued and listed by Optuna's tables directly is what Optuna itself queues and reads."""

import time

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from jepa_scale.studies.queue import server
from jepa_scale.studies.queue.listing import trials

SPACE = {
    "n": IntDistribution(1, 2**40, log=True),
    "rate": FloatDistribution(1e-30, 1.0, log=True),
    "world": CategoricalDistribution(("torus", "nuisance", None)),
}
PARAMETERS = {"n": 3000, "rate": 0.25, "world": "nuisance"}
ATTRIBUTES = {"run": "abc", "attempt": 1, "label": "ä" * 100, "cell": [1, 2], "nothing": None}


@pytest.fixture(autouse=True)
def somewhere(monkeypatch):
    """In a time zone: times are stored in UTC and given as local ones."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def study(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'trials.db'}")
    other = optuna.create_study(study_name="other", storage=storage)
    other.enqueue_trial({"n": 1}, user_attrs={"run": "other"})
    return optuna.create_study(study_name="study", storage=storage)


def ended(state, value=None, curve=()):
    return create_trial(
        state=state,
        value=value,
        params=PARAMETERS,
        distributions=SPACE,
        user_attrs=ATTRIBUTES,
        intermediate_values=dict(curve),
    )


def contents(listed):
    """All that trials hold, with values as text: NaN is not equal to itself."""
    curves = [{step: str(value) for step, value in trial.intermediate_values.items()} for trial in listed]
    return [vars(trial) | {"intermediate_values": curve} for trial, curve in zip(listed, curves, strict=True)]


def test_trials_in_every_state_are_listed_as_optuna_reads_them(study):
    study.add_trial(ended(TrialState.COMPLETE, float("inf"), {10: 1.0, 5: float("nan"), 20: float("-inf")}))
    study.add_trial(ended(TrialState.COMPLETE, 0.25))
    study.add_trial(ended(TrialState.FAIL))
    study.add_trial(ended(TrialState.PRUNED, curve={1: 2.0}))
    for count in range(3):
        study.enqueue_trial(PARAMETERS, user_attrs={**ATTRIBUTES, "count": count})
    running = study.ask()
    running.suggest_int("n", 1, 2**40, log=True)
    running.report(0.5, 3)
    storage, number = study._storage._backend, study._study_id
    found = trials(storage, number)
    assert [trial.state.name for trial in found].count("WAITING") == 2
    assert contents(found) == contents(study.get_trials())
    for states in ((TrialState.RUNNING,), (TrialState.WAITING, TrialState.FAIL), ()):
        assert contents(trials(storage, number, states)) == contents(study.get_trials(states=states))


def test_trials_queued_together_are_those_that_optuna_queues(study):
    many = [({**PARAMETERS, "n": n}, {**ATTRIBUTES, "run": f"run-{n}"}) for n in range(1, 1200)]
    study.enqueue_trial(*many[0][:1], user_attrs=many[0][1])
    server.enqueue(study._storage._backend, study._study_id, many[1:])
    server.enqueue(study._storage._backend, study._study_id, [])
    found = study.get_trials()
    assert [trial.number for trial in found] == list(range(len(many)))
    assert [(trial.system_attrs["fixed_params"], trial.user_attrs) for trial in found] == many
    first, others = vars(found[0]), vars(found[-1])
    own = ("_number", "_trial_id", "_user_attrs", "_system_attrs")
    assert {name: others[name] for name in others if name not in own} == {
        name: first[name] for name in first if name not in own
    }
    asked = [study.ask() for _ in range(2)]
    assert [trial.suggest_int("n", 1, 2**40, log=True) for trial in asked] == [1, 2]
