"""Verdicts on systems whose truth is known."""

import json

import numpy as np
import pytest

import jepa_scale
from jepa_scale.auditing.page import key_numbers, verdict_lines, write_audit
from jepa_scale.cli.app import main
from jepa_scale.worlds.linear_gaussian import LinearGaussianWorld

QUICK = {"dictionary": 0, "resolution": ()}


def modes(generator, rho, episodes=160, length=25):
    x = [generator.normal(size=(episodes, len(rho)))]
    for _ in range(length):
        x.append(rho * x[-1] + np.sqrt(1 - rho**2) * generator.normal(size=x[0].shape))
    return np.stack(x, 1)


def verdict_of(level=0.95, **arrays):
    return jepa_scale.audit(**arrays, level=level, **QUICK).verdict


RHO = np.array([0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.2, 0.1])


def test_a_width_in_range(generator):
    """Σρ² = 3.23; 95 % of it takes five of the eight."""
    found = verdict_of(z=modes(generator, RHO) @ generator.normal(size=(8, 8)) + 3)
    assert (found.status, found.reason.code, found.width) == ("in range", "fits", 8)
    assert found.low <= 5 <= found.high
    assert found.energy.low <= (RHO**2).sum() <= found.energy.high
    assert found.held.low > 0.95
    true = np.cumsum(RHO**2) / (RHO**2).sum()
    # Eight widths at once.
    curve = verdict_of(level=0.999, z=modes(generator, RHO)).curve
    assert all(
        low <= share <= high + 1e-12 for low, share, high in zip(curve.low, true + 1e-12, curve.high, strict=True)
    )


def test_noise_and_copies_are_too_wide(generator):
    """Two numbers for each mode would do: 8 of 32 directions are needed at most."""
    z = modes(generator, RHO)
    noisy = np.concatenate([z, generator.normal(size=(*z.shape[:2], 24))], -1) @ generator.normal(size=(32, 32))
    for wide in (noisy, np.concatenate([z] * 4, -1)):
        found = verdict_of(z=wide)
        assert (found.status, found.reason.code) == ("over-provisioned", "wide")
        assert found.low <= 5 <= found.high <= 8
        assert found.remedy.values["most"] == 2 * found.high


def test_nothing_predictable(generator):
    found = verdict_of(z=generator.normal(size=(160, 26, 12)))
    assert (found.status, found.reason.code, found.low, found.high) == ("cannot tell", "nothing_predictable", 0, 0)
    assert (found.remedy.code, found.command) == ("check_pairs", ""), "the same audit again gives the same answer"


def test_a_position_without_its_velocity_is_too_narrow(generator):
    """p⁺ = p + v, seen without v: the past tells it."""
    turn = 0.98 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    x = [generator.normal(size=(160, 2))]
    for _ in range(25):
        x.append(x[-1] @ turn.T + 0.1 * generator.normal(size=(160, 2)))
    whole = np.stack(x, 1)
    assert verdict_of(z=whole).status == "in range"
    found = verdict_of(z=whole[..., :1])
    assert (found.status, found.reason.code) == ("too narrow", "past_adds")
    assert found.held.high < 0.95


def test_functions_that_a_latent_lacks_are_too_narrow(generator):
    """x⁺ = 4x(1 − x): nothing of x⁺ is linear in x, all of it bends."""
    x = [generator.random((160, 1))]
    for _ in range(20):
        x.append(np.clip(4 * x[-1] * (1 - x[-1]), 1e-6, 1 - 1e-6))
    found = verdict_of(z=np.stack(x, 1))
    assert (found.status, found.reason.code) == ("too narrow", "bends_add")


@pytest.mark.parametrize("shown", ["state", "observation"])
def test_the_linear_gaussian_world(shown, generator):
    """Continuous actions: E = Σρ² of (x, a) and x⁺; the bent observation holds most of the state linearly."""
    world = LinearGaussianWorld(sensor_size=0, bend=0.3)
    sample = world.sample(400, 20, seed=1)
    found = verdict_of(z=sample.states if shown == "state" else sample.observations, action=sample.actions)
    squares = world.linear_gaussian.joint_correlations**2
    assert found.status == "in range"
    if shown == "state":
        assert found.energy.low <= squares.sum() <= found.energy.high


def test_leaks_are_named(generator):
    z = modes(generator, RHO[:4])
    clock = np.broadcast_to(np.arange(26.0)[None, :, None], (160, 26, 1))
    names = np.broadcast_to(generator.normal(size=(160, 1, 2)), (160, 26, 2))
    codes = [
        {note.code: note.values for note in verdict_of(z=np.concatenate([z, leak], -1)).notes}
        for leak in (clock, names, z[..., :1])
    ]
    assert list(codes[0]) == ["time_index"]
    assert codes[1] == {"trajectory_constants": {"count": 2}}
    assert codes[2] == {}


def test_collapse_is_named(generator):
    collapsed = (1 + 1e-6 * generator.normal(size=(80, 26, 4))).astype(np.float32)
    for z in (collapsed, np.ones((80, 26, 4))):
        found = verdict_of(z=z)
        assert (found.status, found.reason.code) == ("cannot tell", "collapsed")


@pytest.mark.parametrize("shift", [-1, 0, 1])
@pytest.mark.parametrize("discrete", [True, False])
def test_shifted_actions_are_named(shift, discrete, generator):
    """Row t of the file holds the action of row t − shift."""
    actions = generator.integers(3, size=(160, 28)) if discrete else generator.normal(size=(160, 28, 1))
    push = actions[..., None] - 1.0 if discrete else actions
    x = [generator.normal(size=(160, 2))]
    for t in range(28):
        x.append(0.8 * x[-1] + push[:, t] * np.array([1.0, 0.5]) + 0.5 * generator.normal(size=(160, 2)))
    z = np.stack(x, 1)[:, 1:27]
    found = verdict_of(z=z, action=actions[:, 1 - shift : 26 - shift])
    expected = {-1: "early", 0: None, 1: "late"}[shift]
    sides = [note.values["side"] for note in found.notes if note.code == "actions_shifted"]
    assert sides == ([] if expected is None else [expected])


def controlled(generator):
    """States, actions, exact predictions and the best that do not know the action."""
    actions = generator.normal(size=(160, 25, 1))
    x, exact, blind = [generator.normal(size=(160, 2))], [], []
    for t in range(25):
        blind.append(0.7 * x[-1])
        exact.append(blind[-1] + actions[:, t] * np.array([0.6, 0.3]))
        x.append(exact[-1] + 0.5 * generator.normal(size=(160, 2)))
    return np.stack(x, 1), actions, np.stack(exact, 1), np.stack(blind, 1)


def test_blind_predictions_are_told_from_exact_ones_whatever_their_scale(generator):
    z, action, exact, blind = controlled(generator)
    for predicted, is_blind in ((exact, False), (3 * exact - 1, False), (blind, True)):
        found = jepa_scale.audit(z=z, action=action, z_pred=predicted, **QUICK)
        shares = found.predicted
        assert [note.code for note in found.verdict.notes] == ["action_blind"] * is_blind
        assert shares.explained.value == pytest.approx(shares.blind.value if is_blind else 1.0, abs=0.02)
        assert (shares.gained.low > 0.1) == (not is_blind)
        assert "share of the joint operator seen by ẑ" in dict(key_numbers(found))


def test_what_is_missing_is_said(generator):
    z = modes(generator, RHO[:3])
    now, after = (part.reshape(-1, 3) for part in (z[:, :-1], z[:, 1:]))
    order = generator.permutation(len(now))
    ids = np.repeat(np.arange(160), 25)
    shuffled = verdict_of(z=now[order], z_next=after[order], trajectory=ids[order])
    assert (shuffled.status, shuffled.reason.code) == ("cannot tell", "history_missing")
    paired = verdict_of(z=now, z_next=after, trajectory=ids)
    assert paired.status == "in range"
    alone = verdict_of(z=now, z_next=after, trajectory=np.zeros(len(now), dtype=int))
    assert (alone.status, alone.reason.code) == ("cannot tell", "groups_missing")
    assert "--columns trajectory=NAME" in alone.command
    few = verdict_of(z=z[:3])
    assert (few.status, few.reason.code) == ("cannot tell", "rows_missing")


def test_rows_of_unequal_weight_count_as_fewer(generator):
    z = modes(generator, np.append(RHO, np.zeros(40)))
    weights = np.where(generator.random((160, 25)) < 0.05, 1.0, 1e-6)
    assert verdict_of(z=z, weight=weights).status in ("over-provisioned", "cannot tell")
    weights[:] = 0
    weights[:3] = 1
    assert verdict_of(z=z, weight=weights).reason.code == "rows_missing"


@pytest.mark.parametrize(("width", "trajectories"), [(96, 60), (300, 30)])
def test_few_rows_for_a_wide_latent_end_in_an_answer(width, trajectories, generator, tmp_path):
    """16 and 2 rows for each direction: a verdict, a curve, and no refusal, nor one by what is advised."""
    rho = np.append(0.95 * 0.7 ** np.arange(12), np.zeros(width - 12))
    z = modes(generator, rho, trajectories, 25) * np.arange(1, width + 1) ** -0.5
    found = jepa_scale.audit(z=z.astype(np.float32), **QUICK)
    assert found.verdict.status in ("over-provisioned", "cannot tell")
    assert len(found.verdict.curve.widths) >= 8
    assert found.total.value is not None
    assert verdict_lines(found)[0].startswith(found.verdict.status.capitalize())
    text = write_audit(found, tmp_path).read_text()
    assert found.verdict.status.capitalize() in text
    written = json.loads((tmp_path / "audit.json").read_text())["verdict"]
    assert written["reason"]["code"] == found.verdict.reason.code


def test_directions_that_hold_nearly_all_of_the_variance_stand_for_all(generator):
    """Four modes and a floor of noise in 200 coordinates, 1600 rows: 100 directions cannot be told apart."""
    lift = np.linalg.qr(generator.normal(size=(200, 200)))[0]
    z = np.concatenate([modes(generator, RHO[:4], 64), 0.02 * generator.normal(size=(64, 26, 196))], -1) @ lift
    found = verdict_of(z=z)
    assert (found.status, found.low <= 4 <= found.high) == ("over-provisioned", True)
    if found.directions < 200:
        assert [note.code for note in found.notes] == ["projected"]


def test_the_command_begins_with_the_verdict(generator, tmp_path, capsys):
    np.savez(tmp_path / "e.npz", z=modes(generator, RHO, 40))
    arguments = ["audit", str(tmp_path / "e.npz"), "--folder", str(tmp_path / "out"), "--dictionary", "0"]
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    assert capsys.readouterr().out.lstrip().startswith("In range (width 8, width needed ")
