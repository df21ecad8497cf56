import pytest

from jepa_scale.runs.build import build_context
from jepa_scale.runs.config import compose, groups, with_values
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.identity import run_id


def test_defaults_compose():
    config = compose([])
    assert config["world"]["_target_"].endswith("Nuisance")
    assert config["model"] == {"k": 16, "hidden": None, "normalise": False}


def test_a_world_begins_with_options_of_its_own(tmp_path, monkeypatch):
    recorded = ["world=recorded", "world.path=walk.npz"]
    config = compose(recorded)
    assert config["objective"]["_target_"].endswith("VICReg")
    assert config["planner"]["_target_"].endswith("NoPlanner")
    chosen = compose([*recorded, "objective=spectral", "planner=cem"])
    assert chosen["objective"]["_target_"].endswith("SpectralObjective")
    assert chosen["planner"]["_target_"].endswith("CEM")
    assert compose(["world=torus"])["objective"]["_target_"].endswith("SpectralObjective")
    # A world of one's own may do so too, and a wrong file is named.
    for group, content in (("world", "_target_: mine.World"), ("world_defaults", "objective: fancy")):
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(content)
    monkeypatch.setenv("JEPA_SCALE_CONF_PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"mine\.yaml: expected options by group, .* got .*fancy"):
        compose(["world=mine"])


def test_groups_and_values_are_overridden():
    config = compose(["world=torus", "world.side=4", "model.k=8", "optimizer.lr=1e-3", "objective=spectral"])
    assert config["world"]["side"] == 4
    assert config["model"]["k"] == 8
    assert config["optimizer"]["lr"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.widht=64", r"unknown key 'model\.widht'.*model has hidden, k"),
        ("model.kk=64", r"did you mean 'model\.k'"),
        ("modle.k=64", r"unknown key 'modle': did you mean 'model'"),
        ("world.hidden.slipp=0.1", r"did you mean 'world\.hidden\.slip'"),
        ("model.k=abc", r"model\.k: expected an integer, got 'abc'"),
        ("model.k=2.5", r"model\.k: expected an integer, got 2\.5"),
        ("model.k=true", r"model\.k: expected an integer, got True"),
        ("model.k=0", r"model\.k: expected a whole number ≥ 1, got 0"),
        ("model.k=-3", r"model\.k: expected a whole number ≥ 1, got -3"),
        ("model=7", r"model: expected one of its keys"),
        ("data.n=100", r"data\.n=100 is below data\.batch_size=256"),
        ("data.batch_size=1", r"data\.batch_size: expected at least 2"),
        ("data.heldout=50", r"data\.heldout: expected at least 32 trajectories"),
        ("trainer.epochs=0", r"trainer\.epochs: expected a whole number ≥ 1"),
        ("trainer.devices=3", r"data\.batch_size=\d+: expected a multiple of trainer\.devices=3"),
        ("trainer.devices=0", r"trainer\.devices: expected a whole number ≥ 1, got 0"),
        ("trainer.checkpoint_every=0", r"trainer\.checkpoint_every: expected a number of steps ≥ 1, or null, got 0"),
        ("trainer.precision=16-mixed", r"trainer\.precision=16-mixed: expected bf16-mixed, or trainer\.gradient_clip"),
        ("trainer.compile=maybe", r"trainer\.compile: expected true or false, got 'maybe'"),
        ("objective.negatives=both", r"objective\.negatives: expected same_action \| pooled, got 'both'"),
        ("planner.score=cosine", r"planner\.score: expected distance \| inner \| density"),
        ("world=rooms", r"unknown option 'world=rooms': world has .*lowrank, nuisance, .*torus"),
        ("world.hidden._target_=jepa_scale.worlds.torus.Tours", r"world\.hidden\._target_: cannot find"),
        ("encoder.k=4", r"unknown key 'encoder\.k'"),
        ("+encoder.k=4", r"encoder"),
        ("model.k=1,2", r"has several values"),
        ("model.k", r"cannot read the override"),
        ("nonsense=", r"unknown key 'nonsense'"),
    ],
)
def test_mistakes_are_named_with_the_remedy(override, message):
    with pytest.raises(UserError, match=message) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


def test_all_mistakes_at_once():
    with pytest.raises(UserError) as caught:
        compose(["model.widht=64", "data.m=3", "optimizer.lr=fast"])
    for part in ("model.widht", "data.m", "optimizer.lr"):
        assert part in str(caught.value)


def test_values_are_merged_without_changing_the_base():
    base = compose([])
    changed = with_values(base, {"model.k": 3, "data.n": 512})
    assert base["model"]["k"] == 16
    assert (changed["model"]["k"], changed["data"]["n"]) == (3, 512)
    with pytest.raises(UserError, match="below"):
        with_values(base, {"data.n": 5})


def test_identity_follows_what_is_computed():
    base = compose([])
    assert run_id(base) == run_id(compose([])) == run_id(compose(["seed=0"]))
    assert run_id(base) == run_id(compose(["logger=none"])), "where a run reports to is not what it computes"
    others = [["seed=1"], ["model.k=8"], ["data.n=3001"], ["world.hidden.slip=0.4"], ["trainer.epochs=6"]]
    assert len({run_id(base), *(run_id(compose(other)) for other in others)}) == 1 + len(others)


def test_every_option_of_every_group_composes():
    for group, options in groups().items():
        for option in options:
            assert compose([f"{group}={option}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("evaluation.episodes=0", "episodes ≥ 1"),
        ("evaluation.same_cost_episodes=-1", "same_cost_episodes ≥ 0"),
        ("evaluation.required_steps=[]", "numbers of steps ≥ 1"),
        ("evaluation.required_steps=[0, 3]", "numbers of steps ≥ 1"),
    ],
)
def test_tasks_that_cannot_be_drawn_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        build_context(compose(["world=point_mass", "planner=cem", setting]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["planner.cost.finale=1"], r"unknown key 'planner\.cost\.finale': did you mean 'planner\.cost\.final'"),
        (["planner.cost.path=much"], r"planner\.cost\.path: expected a number, got 'much'"),
        (["planner.path=true"], r"unknown key 'planner\.path'"),
        (["planner.cost.final=0"], r"planner: expected weights ≥ 0, one of final, path or inner above 0"),
        (["planner.score=inner"], r"planner: expected score=distance.* weights of cost"),
    ],
)
def test_costs_of_plans_that_make_no_sense_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        build_context(compose(["world=point_mass", "planner=cem", *overrides]))


def test_gradients_do_not_pass_through_images():
    seen = ["world=two_rooms", "planner=gradient"]
    with pytest.raises(UserError, match=r"same_cost_episodes: expected 0, as Gradient .*; got None"):
        build_context(compose(seen))
    build_context(compose([*seen, "evaluation.same_cost_episodes=0"]))


@pytest.mark.parametrize("planner", ["cem", "icem", "mppi", "gradient", "exhaustive", "spectral", "categorical_cem"])
def test_which_planner_goes_with_which_world(planner):
    discrete = planner in ("exhaustive", "spectral", "categorical_cem")
    for world, fits in (("torus", discrete), ("point_mass", not discrete)):
        overrides = [f"world={world}", f"planner={planner}", "planner.horizon=2"]
        if fits:
            build_context(compose(overrides))
            continue
        named = "categorical_cem, exhaustive or spectral" if world == "torus" else "cem, gradient, icem or mppi"
        with pytest.raises(UserError, match=f"planner: expected planner={named}"):
            build_context(compose(overrides))
