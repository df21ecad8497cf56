"""Steps on tensors that stay in place, as a GPU takes them, are those of runs alone, taken plainly or replayed.

Without a GPU a step is recorded as the operators that it calls.
"""

import gc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jepa_scale.objectives.sigreg import SIGReg
from jepa_scale.training.cohort import graph
from jepa_scale.training.cohort.batches import Batches, ResidentRows
from jepa_scale.training.cohort.stack import NotStackable, Stack
from tests.training.test_cohort import CASES, MEMBERS, PIXELS, STEPS, alone, assert_same, state_of, trainees

TRAJECTORIES = [
    "objective-spectral", "objective-ema", "objective-sigreg", "continuous-vicreg_inverse", "predictor-gru",
    "encoder-cnn", "same_action", "one_rate", "unclipped", "wide",
]  # fmt: skip


def static(together):
    stack = Stack(together, static=True)
    stack.check(0)
    return stack


def assert_as_alone(together, solo, steps):
    """The first have come where the others come alone by so many steps."""
    for one, other in zip(together, solo, strict=True):
        alone(other, steps)
        assert_same(one, other)


class Operators(TorchDispatchMode):
    """Notes operators with their tensors, to be done again with those, whatever Python would do: as a CUDA graph."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, made))
        return made

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, made in self.done:
            for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                # A view, or what was changed in place, is the same memory.
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def noted(step, device):
    with Operators() as operators:
        step()
    return operators.replay


@pytest.fixture
def replayed(monkeypatch):
    """Steps are recorded and replayed, operator by operator; as on CUDA, recording takes no step."""

    def record(step, device):
        kept = [(value, value.clone()) for value in step.__self__.graph._state]
        replay = noted(step, device)
        for value, before in kept:
            value.copy_(before)
        return replay

    monkeypatch.setattr(graph, "record", record)


@pytest.mark.parametrize("case", TRAJECTORIES)
def test_replayed_training_is_solo_training(case, replayed):
    """Steps one by one and several at once, of which the second time there is something to record."""
    solo, together = trainees(CASES[case]), trainees(CASES[case])
    stack = static(together)
    for step, steps in ((0, 1), (1, 4), (5, STEPS - 5)):
        stack.advance(step, steps)
    assert stack.why_plain == ""
    assert stack._static.graph._replay.__name__ == "replay"
    for one, other in zip(together, solo, strict=True):
        alone(other, STEPS)
        assert_same(one, other)


@pytest.mark.parametrize("overrides", [[], ["data.horizon=8"], ["encoder=cnn", *PIXELS]])
def test_resident_batches_are_those_of_the_loaders_bit_by_bit(overrides):
    made = trainees([*overrides, "data.batch_size=8"])
    before = [one.loader.data.observations.values.clone() for one in made]
    batches = Batches([one.loader for one in made], next(made[0].module.parameters()))
    rows = ResidentRows(batches)
    drawn = rows.draw(6, 9)
    for number, chosen in enumerate(drawn):
        ours, theirs = rows.take(chosen), batches.take(6 + number)
        for name in ("observations", "actions", "places"):
            values = getattr(ours, name), getattr(theirs, name)
            assert values[0] is values[1] is None or torch.equal(*values), name
    for one, values in zip(made, before, strict=True):
        assert torch.equal(one.loader.data.observations.values, values), "a view of the whole"


def test_rates_and_inputs_change_at_every_step():
    stack = static(trainees([]))
    seen = []
    stack.advance(0, 1)
    moving = stack._static
    take = moving.graph.take
    moving.graph.take = lambda: (seen.append((moving.chosen.clone(), moving.rates.clone())), take())
    places = moving.chosen.data_ptr(), moving.rates.data_ptr()
    stack.advance(1, 6)
    assert places == (moving.chosen.data_ptr(), moving.rates.data_ptr())
    for number, (chosen, rates) in enumerate(seen):
        assert torch.equal(chosen, moving.rows.draw(1 + number, 1)[0])
        assert torch.equal(rates, moving.adam.rates(1 + number, 1)[0])
    assert len({tuple(rates.flatten().tolist()) for _, rates in seen}) == 6


def test_trying_out_a_step_changes_nothing():
    """The first recording takes two steps four times over; the state that is gone on from is the one before."""
    short, long = trainees([]), trainees([])
    for stack, parts in ((static(short), [1] * 5), (static(long), [5])):
        step = 0
        for steps in parts:
            stack.advance(step, steps)
            step += steps
        assert stack._static.graph.ready == (parts == [5])
    for one, other in zip(short, long, strict=True):
        ours, theirs = state_of(one), state_of(other)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_going_on_at_an_odd_step_is_going_on():
    whole, parts = trainees([]), trainees([])
    static(whole).advance(0, 9)
    static(parts).advance(0, 3)
    static(parts).advance(3, 6)
    for one, other in zip(parts, whole, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("objective", ["spectral", "ema"])
def test_a_lost_member_is_left_bit_by_bit_and_touches_no_other(objective):
    """Its module has gone, as Lightning moves that of a run which has ended; ours stay as they were."""
    members = [MEMBERS[0], ["seed=1", "optimizer.lr=1e200"], MEMBERS[2]]
    overrides = [f"objective={objective}"]
    together, solo = trainees(overrides, members), trainees(overrides, members)
    stack = static(together)
    stack.advance(0, 4)
    assert not bool(together[1].module.last_loss.isfinite())
    adam = stack._static.adam
    lost = [flat[1].clone() for flat in (adam.weights, adam.first, adam.second)]
    together[1].module.to("meta")
    stack.alive = [0, 2]
    stack.advance(4, 4)
    for flat, before in zip((adam.weights, adam.first, adam.second), lost, strict=True):
        assert torch.equal(flat[1].nan_to_num(7), before.nan_to_num(7))
    for m in (0, 2):
        alone(solo[m], 8)
        assert_same(together[m], solo[m])


# What is recorded must be the step.


def test_a_recording_of_old_inputs_is_noticed(monkeypatch):
    """A recording that repeats its first step, as of directions that the host has drawn, differs at the second."""

    def stale(step, device):
        weights = moving.adam.weights
        before = weights.clone()
        step()
        change = weights - before
        return lambda: weights.add_(change)

    monkeypatch.setattr(graph, "record", stale)
    together, solo = trainees([]), trainees([])
    stack = static(together)
    stack.advance(0, 1)
    moving = stack._static
    stack.advance(1, 5)
    assert stack.why_plain == "recorded, it comes out differently"
    assert_as_alone(together, solo, 6)


def test_a_step_that_cannot_be_recorded_is_taken_plainly(monkeypatch):
    def refuses(step, device):
        step()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graph, "record", refuses)
    together, solo = trainees([]), trainees([])
    stack = static(together)
    stack.advance(0, 6)
    assert stack.why_plain == "it cannot be recorded (RuntimeError: operation not permitted when stream is capturing)"
    assert_as_alone(together, solo, 6)


class Idle(torch.nn.Linear):
    """An encoder with a weight that nothing depends on."""

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)
        self.idle = torch.nn.Parameter(torch.ones(3))


def test_weights_without_a_gradient_stay_as_they_are(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    overrides = [f"encoder._target_={__name__}.Idle"]
    solo, together = trainees(overrides), trainees(overrides)
    stack = static(together)
    stack.advance(0, 5)
    assert stack.why_plain == ""
    assert_as_alone(together, solo, 5)


class Counting(SIGReg):
    """An objective that draws at each step and does not say so."""

    def draw_ahead(self, steps):
        return None


def test_directions_drawn_at_each_step_are_named_and_counted_once(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    overrides = ["objective=sigreg", f"objective._target_={__name__}.Counting"]
    solo, together = trainees(overrides), trainees(overrides)
    stack = static(together)
    stack.advance(0, 5)
    assert stack.why_plain == "objective.drawn changes on the host at every step"
    assert_as_alone(together, solo, 5)
    assert all(one.module.objective.drawn == 5 for one in together)


def test_directions_drawn_ahead_are_those_of_the_steps():
    objective = SIGReg(k=3, slices=4)
    drawn = [objective.draw_ahead(steps) for steps in (2, 3)]
    assert objective.drawn == 5
    assert torch.equal(torch.cat(drawn), torch.stack([SIGReg(k=3, slices=4).directions(step) for step in range(5)]))


def test_memory_that_does_not_suffice_while_recording_is_told(monkeypatch):
    def full(step, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graph, "record", full)
    together = trainees([])
    before = [one.module.encoder.net[0].weight.clone() for one in together]
    with pytest.raises(torch.OutOfMemoryError):
        static(together).advance(0, 4)
    for one, weight in zip(together, before, strict=True):
        assert torch.equal(one.module.encoder.net[0].weight, weight), "left as before the first of the steps"


def test_a_recording_that_fails_leaves_stream_and_collector_as_they_were(monkeypatch):
    """Torch's context of a recording does not go back to the stream before, if the end of the recording raises."""
    streams = ["before"]

    class Recording:
        def __init__(self, made, capture_error_mode):
            pass

        def __enter__(self):
            streams.append("recorded")
            assert not gc.isenabled()

        def __exit__(self, *error):
            raise RuntimeError("the recording was ended by an error")

    def step():
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    with pytest.raises(RuntimeError, match="was ended"):
        graph.record(step, torch.device("cuda"))
    assert streams[-1] == "before"
    assert gc.isenabled()


def test_rows_in_a_file_go_alone():
    made = trainees([])
    stack = static(made)
    made[1].loader.data.__dict__["observations"] = object()
    with pytest.raises(NotStackable, match="read from a file"):
        stack.advance(0, 2)
