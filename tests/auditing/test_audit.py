import json

import numpy as np
import pytest

import jepa_scale
from jepa_scale.auditing.page import key_numbers, terminal_table, write_audit
from jepa_scale.auditing.plan import STATE_BYTES
from jepa_scale.auditing.warn import sufficiency
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.spectrum import canonical_correlations, exact_moments, singular_values, spectral_loss
from jepa_scale.worlds.torus import Torus

QUICK = {"dictionary": 0, "resolution": ()}


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "e.npz", **arrays)
    return tmp_path / "e.npz"


def pairs(generator, n=4000, k=4, actions=3):
    z = generator.normal(size=(n, k))
    return {
        "z": z,
        "z_next": 0.8 * z + 0.6 * generator.normal(size=(n, k)),
        "action": generator.integers(actions, size=n),
        "trajectory": np.arange(n) // 20,
    }


def torus_arrays(generator, world, width, trajectories=400, length=25):
    """Embeddings of an exact world, and its model as tables."""
    finite = world.finite
    encoder = generator.normal(size=(finite.states, width))
    predictor = np.stack([kernel @ encoder for kernel in finite.transition])
    sample = world.sample(trajectories, length, seed=5)
    starts, ends = sample.states[:, :-1].ravel(), sample.states[:, 1:].ravel()
    arrays = {
        "z": encoder[starts],
        "z_next": encoder[ends],
        "z_pred": predictor[sample.actions.ravel(), starts],
        "action": sample.actions.ravel(),
        "trajectory": np.repeat(np.arange(trajectories), length),
    }
    return arrays, encoder, predictor


def test_an_exact_world_is_inside_the_intervals(generator, tmp_path):
    world, width = Torus(4, 0.2, 0.8), 5
    arrays, encoder, predictor = torus_arrays(generator, world, width)
    found = jepa_scale.audit(saved(tmp_path, **arrays), level=0.9999)
    finite = world.finite
    constant = np.ones((16, 1))
    with_constant = exact_moments(
        finite, np.hstack([constant, encoder]), np.concatenate([np.tile(constant, (5, 1, 1)), predictor], axis=2)
    )
    squares = canonical_correlations(with_constant) ** 2
    loss = spectral_loss(exact_moments(finite, encoder, predictor))
    assert found.predictions
    assert found.total.low <= squares.sum(-1).mean() <= found.total.high
    assert found.loss.low <= loss.mean() <= found.loss.high
    assert found.top[2].low <= squares[:, :2].sum(-1).mean() <= found.top[2].high
    for action, one in enumerate(found.operators):
        assert one.total.low <= squares[action].sum() <= one.total.high
        assert one.singular_values[0].value == pytest.approx(1.0)
    # Sixteen states: features of an injective embedding can span all of their functions.
    exact = singular_values(finite)
    dictionary = found.dictionary
    assert dictionary.total.low <= (exact**2).sum(-1).mean() <= dictionary.total.high
    assert dictionary.tail[4].low <= (exact[:, 4:] ** 2).sum(-1).mean() <= dictionary.tail[4].high
    assert dictionary.subspace_deficit.value > 0
    assert found.repeated > 0.8 * found.rows
    assert any("finitely many observations" in sentence for sentence in found.warnings)


def test_layouts_and_dtypes_of_one_data_set_agree(generator, tmp_path):
    episodes = generator.normal(size=(120, 31, 3)).cumsum(1) * 0.1
    actions = generator.integers(2, size=(120, 30))
    one = jepa_scale.audit(saved(tmp_path, z=episodes, action=actions), **QUICK)
    flat = {
        "z": episodes[:, :-1].reshape(-1, 3),
        "z_next": episodes[:, 1:].reshape(-1, 3),
        "action": actions.ravel(),
        "trajectory": np.repeat(np.arange(120), 30),
    }
    other = jepa_scale.audit(saved(tmp_path, **flat), **QUICK)
    assert one.total.value == pytest.approx(other.total.value, rel=1e-9)
    single = jepa_scale.audit(saved(tmp_path, **{**flat, "z": flat["z"].astype(np.float32)}), **QUICK)
    assert single.total.value == pytest.approx(other.total.value, rel=1e-4)


def test_invertible_maps_of_embeddings_change_no_spectrum(generator, tmp_path):
    arrays = pairs(generator)
    before = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    mixing = generator.normal(size=(4, 4))
    mapped = {**arrays, "z": arrays["z"] @ mixing + 7, "z_next": 1000 * arrays["z_next"] - 3}
    after = jepa_scale.audit(saved(tmp_path, **mapped), **QUICK)
    for ours, theirs in zip(before.operators, after.operators, strict=True):
        for one, other in zip(ours.singular_values, theirs.singular_values, strict=True):
            assert one.value == pytest.approx(other.value, abs=1e-9)


def test_the_joint_operator_beside_the_actions(generator, tmp_path):
    """T_joint = Σ_a π(a) T_pooled(a), of complete features of an exact world, with predictions and without."""
    world = Torus(3, 0.2, 0.8)
    arrays, *_ = torus_arrays(generator, world, 8, trajectories=800)
    truth = world.finite.policy @ (normalised_co_occurrence(world.finite, "pooled") ** 2).sum((1, 2))
    for left_out, features in (("z_pred", "h = z ⊗ onehot(a)"), ("", "h = ẑ")):
        given = {name: values for name, values in arrays.items() if name != left_out}
        found = jepa_scale.audit(saved(tmp_path, **given), **QUICK)
        assert found.joint.name.endswith(features)
        # E[f | x, a] of a complete f spans what the operator maps it to, so that predictions see all as well.
        assert found.joint.total.value == pytest.approx(truth, abs=4 * found.joint.total.standard_error)
        assert f"T of (x, a) → x⁺, {features}" in dict(key_numbers(found))
        text = write_audit(found, tmp_path / "out").read_text()
        assert features in text
        written = json.loads((tmp_path / "out/audit.json").read_text())
        assert written["joint"]["total"]["value"] == found.joint.total.value


def test_why_there_is_no_joint_operator(generator, tmp_path):
    arrays = pairs(generator, n=3000, k=20)
    arrays["action"] = generator.normal(size=(3000, 6))
    found = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    assert found.joint is None
    assert any("No joint operator (x, a) → x⁺: expected room for 7 functions" in said for said in found.warnings)


def test_continuous_actions(generator, tmp_path):
    """x⁺ = x + .05 a + N(0, .0125²) on a ring, 31 Fourier features: T = 20.650 for every a."""
    n = 60_000
    x, a = generator.random(n), generator.uniform(-1, 1, size=n)
    following = x + 0.05 * a + 0.0125 * generator.normal(size=n)

    def features(angle):
        return np.stack([wave(2 * np.pi * j * angle) for j in range(1, 16) for wave in (np.cos, np.sin)], axis=1)

    arrays = {"z": features(x), "z_next": features(following), "action": a, "trajectory": np.arange(n)}
    cells = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    assert cells.cells.totals[1].value == pytest.approx(8.55, abs=0.1)
    assert cells.cells.extrapolated.low - 0.05 <= 20.650 <= cells.cells.extrapolated.high + 0.05
    assert cells.cells.totals[16].value < cells.cells.extrapolated.value
    # Legendre products up to degree 5 of a: 186 features; four errors, and what the basis misses.
    assert "6 Legendre products" in cells.joint.name
    assert cells.joint.total.value == pytest.approx(20.650, abs=4 * cells.joint.total.standard_error + 0.1)
    joint = jepa_scale.audit(saved(tmp_path, **arrays, z_pred=features(x + 0.05 * a)), **QUICK)
    assert joint.summary_name.startswith("joint")
    assert joint.total.value == pytest.approx(20.650, abs=4 * joint.total.standard_error)


def test_resolution_of_a_noiseless_torus(generator, tmp_path):
    """T(ε) keeps growing as ε falls, and the audit says so."""
    n = 30_000
    x = generator.random((n, 1))
    wave = lambda angle: np.hstack([np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)])  # noqa: E731
    found = jepa_scale.audit(saved(tmp_path, z=wave(x), z_next=wave(x + 0.3), trajectory=np.arange(n)))
    totals = [one.total.value for one in found.resolution]
    assert [one.noise for one in found.resolution] == [0.05, 0.1, 0.2, 0.4]
    assert totals[0] > 1.2 * totals[1] > 1.2**2 * totals[2]
    assert any("noiseless" in sentence for sentence in found.warnings)


def test_too_few_rows_show_no_number(generator, tmp_path):
    found = jepa_scale.audit(saved(tmp_path, **pairs(generator, n=240)))
    assert found.total.value is None
    assert all("n_too_small" in one.flags and not one.singular_values for one in found.operators)
    assert found.dictionary is None
    assert found.sizing is None
    assert "Too few transitions" in found.warnings[0]
    page = write_audit(found, tmp_path / "out").read_text()
    assert "Too few transitions" in page
    # The energy over all actions has rows enough.
    assert {path.stem for path in (tmp_path / "out/figures").glob("*")} == {"energy"}


def test_collapsed_embeddings(generator, tmp_path):
    arrays = {**pairs(generator), "z_next": np.ones((4000, 4))}
    found = jepa_scale.audit(saved(tmp_path, **arrays))
    assert all("degenerate" in one.flags for one in found.operators)
    assert found.total.value == pytest.approx(1.0)
    assert "collapsed" in found.warnings[0]
    write_audit(found, tmp_path / "out")


def test_one_trajectory_and_none(generator, tmp_path):
    arrays = pairs(generator)
    one = jepa_scale.audit(saved(tmp_path, **{**arrays, "trajectory": np.zeros(4000, dtype=int)}), **QUICK)
    assert one.total.value is not None
    assert one.total.low is None
    assert any("No intervals" in sentence for sentence in one.warnings)
    write_audit(one, tmp_path / "out")
    del arrays["trajectory"]
    none = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    assert none.total.low is not None
    assert any("contiguous blocks" in sentence for sentence in none.warnings)


def test_actions_that_never_occur_and_rows_that_repeat(generator, tmp_path):
    arrays = pairs(generator)
    arrays["action"] = np.where(arrays["action"] == 1, 3, arrays["action"])
    found = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    assert [one.name for one in found.operators] == ["action 0", "action 2", "action 3"]
    assert any("Action 1 never occurs" in sentence for sentence in found.warnings)
    assert found.repeated == 0
    twice = {name: np.concatenate([values, values]) for name, values in arrays.items()}
    repeated = jepa_scale.audit(saved(tmp_path, **twice), **QUICK)
    assert repeated.repeated == 4000
    assert any("repeat" in sentence for sentence in repeated.warnings)


def test_rows_that_are_not_finite(generator, tmp_path):
    arrays = pairs(generator)
    arrays["z"][[5, 77], 1] = [np.nan, np.inf]
    with pytest.raises(ValueError, match="--drop-nonfinite"):
        jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    found = jepa_scale.audit(saved(tmp_path, **arrays), drop_nonfinite=True, **QUICK)
    assert found.dropped == 2
    assert found.rows == 3998
    kept = np.isfinite(arrays["z"]).all(1)
    other = jepa_scale.audit(saved(tmp_path, **{name: values[kept] for name, values in arrays.items()}), **QUICK)
    # Trajectory numbers are the same, so the groups are.
    assert found.total == other.total


def test_projection_is_a_lower_bound(generator, tmp_path):
    arrays = pairs(generator, n=6000, k=12)
    whole = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    projected = jepa_scale.audit(saved(tmp_path, **arrays), components=5, **QUICK)
    assert projected.widths == (5, 5)
    assert projected.total.value < whole.total.value


def test_memory_is_refused_where_directions_were_asked_for(generator, tmp_path):
    width = 1200
    z = generator.normal(size=(1500, width)).astype(np.float32)
    arrays = {"z": z, "z_next": z, "action": np.arange(1500) % 7}
    with pytest.raises(ValueError, match=f"within {STATE_BYTES // 2**20} MiB.*--components"):
        jepa_scale.audit(saved(tmp_path, **arrays), components=width, **QUICK)
    found = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    assert "principal directions" in found.layout
    assert found.verdict.status == "cannot tell"


def test_a_study_calibrates_the_sample_term(generator, tmp_path):
    arrays, *_ = torus_arrays(generator, Torus(4, 0.2, 0.8), 5)
    names = ("A", "B", "p", "q")
    fits = [
        {
            "law": "theory_free",
            "target": "risk",
            "status": "converged",
            "parameters": [
                {"name": name, "value": value} for name, value in zip(names, (1.0, b, 2.0, 1.0), strict=True)
            ],
            "bootstrap_draws": [[1.0, b * c, 2.0, 1.0] for c in (0.9, 1.1)],
        }
        for b in (1.0, 1000.0)
    ]
    chosen = []
    for fit in fits:
        (tmp_path / "fit.json").write_text(json.dumps({"fits": [fit]}))
        found = jepa_scale.audit(saved(tmp_path, **arrays), fit=tmp_path / "fit.json")
        assert "study's law theory_free" in found.sizing.source
        chosen.append(found.sizing.best_high)
    assert chosen[0] > chosen[1]
    free = jepa_scale.audit(saved(tmp_path, **arrays)).sizing
    assert "not calibrated" in free.source
    assert free.low <= free.best_low <= free.best_high <= free.high
    larger = jepa_scale.audit(saved(tmp_path, **arrays), train_n=1e7).sizing
    assert larger.best_low > free.best_low
    negative = [{"name": name, "value": -1.0} for name in names]
    for broken in (
        "",
        "{}",
        "[1]",
        '{"fits": 5}',
        '{"fits": [{}]}',
        '{"fits": []}',
        '{"fits": [{"law": "theory_free", "target": "risk", "status": "converged"}]}',
        json.dumps({"fits": [{**fits[0], "parameters": negative, "bootstrap_draws": []}]}),
    ):
        (tmp_path / "fit.json").write_text(broken)
        with pytest.raises(ValueError, match=r"^expected .*fit\.json"):
            jepa_scale.audit(saved(tmp_path, **arrays), fit=tmp_path / "fit.json")


def test_page_and_json_hold_what_was_found(generator, tmp_path):
    arrays, *_ = torus_arrays(generator, Torus(4, 0.2, 0.8), 5)
    found = jepa_scale.audit(saved(tmp_path, **arrays))
    page = write_audit(found, tmp_path / "out")
    written = json.loads((tmp_path / "out/audit.json").read_text())
    assert written["total"]["value"] == found.total.value
    assert written["top"]["2"]["low"] == found.top[2].low
    assert sorted(path.name for path in (tmp_path / "out/figures").iterdir()) == [
        "actions.png", "actions.svg", "energy.png", "energy.svg", "resolution.png", "resolution.svg", "sizing.png",
        "sizing.svg", "spectrum.png", "spectrum.svg",
    ]  # fmt: skip
    text = page.read_text()
    assert "http" not in text.replace("http://www.w3.org", "")
    assert len(key_numbers(found)) == terminal_table(found).row_count
    again = write_audit(jepa_scale.audit(saved(tmp_path, **arrays)), tmp_path / "again")
    assert again.read_text() == text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"latent": "z"}}, "expected columns z, z_next"),
        ({"widths": (0,)}, "widths ≥ 1"),
        ({"cells": 3}, "power of two"),
        ({"resolution": (0.0,)}, "resolutions above 0"),
        ({"resolution": (np.inf,)}, "finite resolutions"),
        ({"train_n": np.inf}, "one training transition"),
        ({"level": 1.0}, "level between"),
        ({"tokens": "first"}, "tokens"),
        ({"dictionary": 3}, "dictionary of at least the 4 coordinates"),
    ],
)
def test_settings_at_the_door(settings, message, generator, tmp_path):
    with pytest.raises(ValueError, match=message):
        jepa_scale.audit(saved(tmp_path, **pairs(generator, n=2000)), **settings)


def test_the_tutorial_exports_any_model(generator, tmp_path):
    """The ten lines of the tutorial, on a model with the three methods, into an audit."""
    import torch

    from tests.documents.pages import blocks

    (code,) = [block.text for block in blocks("python") if "def export" in block.text]
    space: dict = {}
    exec(code, space)

    class Model:
        def encode(self, observations):
            return observations @ torch.ones(2, 3).cumsum(1) + observations.sum(1, keepdim=True).sin()

        def embed_action(self, actions):
            return torch.nn.functional.one_hot(actions, 2).float()

        def predict(self, latents, embedded):
            return 0.9 * latents + 0.1 * embedded[:, :1]

    episodes = [
        (
            torch.from_numpy(generator.normal(size=(31, 2)).cumsum(0)).float(),
            torch.from_numpy(generator.integers(2, size=30)),
        )
        for _ in range(100)
    ]
    space["export"](Model(), episodes, tmp_path / "exported.npz")
    found = jepa_scale.audit(tmp_path / "exported.npz", **QUICK)
    assert (found.rows, found.predictions, found.trajectories) == (3000, True, 100)
    assert found.total.low < found.total.value < found.total.high


def test_a_rare_action_leaves_the_others_alone(generator, tmp_path):
    arrays = pairs(generator, n=6000, k=3)
    plain = jepa_scale.audit(saved(tmp_path, **arrays))
    arrays["action"][100] = 5
    found = jepa_scale.audit(saved(tmp_path, **arrays))
    assert found.dictionary is not None
    assert found.total.value == pytest.approx(plain.total.value, abs=0.05)
    assert found.total.low < found.total.value < found.total.high
    assert found.summary_name.startswith("mean over 3 actions")
    assert "n_too_small" in found.operators[3].flags
    said = " ".join(found.warnings)
    assert "Too few transitions for action 5: 1 where 75 are needed" in said
    assert "Actions 3 and 4 never occur:" in said
    assert "depend on each other" not in said
    assert "No intervals" not in said


def test_no_width_where_none_can_be_advised(generator, tmp_path):
    """A dictionary that half of it would not do, noiseless dynamics, and a single trajectory."""
    z = generator.normal(size=(20_000, 8))
    arrays = {"z": z, "z_next": z + generator.normal(size=z.shape), "trajectory": np.arange(20_000) // 20}
    # True T is 2⁸: 128 features see 12.
    wide = jepa_scale.audit(saved(tmp_path, **arrays), resolution=())
    assert wide.sizing is None
    assert any("dictionary is too small" in sentence for sentence in wide.warnings)
    assert "Not drawn: The dictionary is too small" in write_audit(wide, tmp_path / "out").read_text()
    same = jepa_scale.audit(saved(tmp_path, **{**arrays, "z_next": z}), resolution=())
    assert same.sizing is None
    assert sufficiency(same) == ""
    independent = {**arrays, "z_next": generator.normal(size=z.shape), "trajectory": np.zeros(20_000, dtype=int)}
    alone = jepa_scale.audit(saved(tmp_path, **independent), resolution=())
    assert alone.dictionary is None
    assert any("bias cannot be removed" in sentence for sentence in alone.warnings)


def test_independent_embeddings_miss_nothing(generator, tmp_path):
    arrays = {name: generator.normal(size=(20_000, 4)) for name in ("z", "z_next")}
    found = jepa_scale.audit(saved(tmp_path, **arrays, trajectory=np.arange(20_000) // 20), resolution=())
    assert found.total.low <= 1 <= found.total.high
    assert "sees no tail" in sufficiency(found)
    assert "miss nothing" in sufficiency(found)


def test_predictions_that_know_their_target(generator, tmp_path):
    arrays = pairs(generator, n=8000, actions=1)
    leaked = arrays["z_next"] + 0.1 * generator.normal(size=(8000, 4))
    found = jepa_scale.audit(saved(tmp_path, **arrays, z_pred=leaked), resolution=())
    assert any("know something of their target" in sentence for sentence in found.warnings)
    copied = jepa_scale.audit(saved(tmp_path, **arrays, z_pred=arrays["z_next"]), **QUICK)
    assert any("see whether z_pred is z_next" in sentence for sentence in copied.warnings)


def test_numbers_too_large_to_square(generator, tmp_path):
    arrays = pairs(generator)
    big = {**arrays, "z": 1e200 * arrays["z"]}
    with pytest.raises(ValueError, match="too large"):
        jepa_scale.audit(saved(tmp_path, **big), **QUICK)
