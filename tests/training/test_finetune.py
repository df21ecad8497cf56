"""Fine-tuning: what it trains, what it leaves alone, and that a second stage is one run with the first."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from jepa_scale.callbacks.success import tried
from jepa_scale.cli.app import main
from jepa_scale.models.policy import Policy
from jepa_scale.objectives.base import mean_square
from jepa_scale.planners.base import plan
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.planning import plan_with, predicted_cost
from jepa_scale.records import ActionSpace, Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.checkpoint import read_checkpoint
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.evaluate import evaluate
from jepa_scale.runs.follow import adopt, following
from jepa_scale.runs.identity import run_id
from jepa_scale.runs.run import preflight, run
from jepa_scale.runs.stages import finetuning
from jepa_scale.training.finetuning.base import Schedule, goals_of, last_layer, step_generator

DISCRETE = [
    "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=10", "data.n=600", "data.heldout=640", "data.test=640",
    "data.batch_size=64", "model.k=4", "model.hidden=16", "planner.horizon=2",
]  # fmt: skip
CONTINUOUS = [
    *DISCRETE[:-1], "world=point_mass", "planner=cem", "planner.candidates=16", "evaluation.episodes=2",
    "evaluation.required_steps=[5]", "evaluation.same_cost_episodes=0", "predictor=gru", "data.horizon=3",
    "objective=vicreg", "optimizer.base_k=null", "model.normalise=true",
]  # fmt: skip
STAGES = ["stages=[pretrain,finetune]", "finetune.schedule.epochs=1", "finetune.schedule.steps_per_epoch=8"]
WAYS = {
    "rollout": ["finetune=rollout", "finetune.horizon=3"],
    "longer": ["finetune=longer"],
    "amortised": ["finetune=amortised"],
    "distill": ["finetune=distill", "finetune.pairs=40"],
    "value": ["finetune=value", "finetune.horizon=4"],
}


def second_stage(*overrides):
    config = compose([*CONTINUOUS, *STAGES, *overrides])
    return finetuning(config, build(config))


def weights_of(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def moved(before, module):
    return {name.split(".")[0] for name, weight in module.named_parameters() if not torch.equal(weight, before[name])}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("way", WAYS)
def test_a_step_moves_what_is_to_be_trained_and_nothing_else(way):
    parts = second_stage(*WAYS[way])
    module = parts.module
    module.task.prepare(module, parts.data.windows, 0)
    optimizer = module.optimizer_settings.build(module.named_parameters(), 10, module.rates)["optimizer"]
    before = weights_of(module)
    for _ in range(3):
        optimizer.zero_grad()
        loss = module.training_step(next(iter(parts.data.train_dataloader())), 0)
        assert loss.isfinite()
        loss.backward()
        optimizer.step()
        module.on_train_batch_end(None, None, 0)
    trained = {"rollout": {"predictor"}, "longer": {"encoder", "predictor"}}.get(way, {"task"})
    assert moved(before, module) == trained


def test_the_last_layer_of_the_encoder_can_be_trained_alone():
    module = second_stage("finetune=rollout", "finetune.schedule.trained=[encoder_last]").module
    free = [name for name, weight in module.named_parameters() if weight.requires_grad]
    last = sorted(name for name, _ in module.encoder.named_parameters())[-1].rsplit(".", 1)[0]
    assert sorted(free) == [f"encoder.{last}.bias", f"encoder.{last}.weight"]
    assert module.sees
    assert last_layer(torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU())).out_features == 2


def test_one_step_roll_outs_are_pretraining():
    """The control: with pretraining's horizon the loss of a batch is the loss of pretraining."""
    parts = second_stage("finetune=longer")
    batch = next(iter(parts.data.train_dataloader()))
    ours = parts.module.training_step(batch, 0)
    theirs = build(compose(CONTINUOUS)).module.training_step(batch, 0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_roll_outs_are_the_predictors_own():
    """Slow form: step by step on its own outputs, each held against the encoder."""
    parts = second_stage("finetune=rollout", "finetune.horizon=5", "objective=latent", "objective.variance=0")
    module, batch = parts.module, next(iter(parts.data.train_dataloader()))
    assert batch.actions.shape[1] == 5
    latent, losses = module.encode(batch.observations[:, 0]), []
    for step in range(5):
        latent = module.predict(latent, batch.actions[:, step])
        losses.append(mean_square(latent, module.encode(batch.observations[:, step + 1])))
    torch.testing.assert_close(module.training_step(batch, 0), torch.stack(losses).mean())


def test_goals_are_reached_within_the_window_or_elsewhere():
    latents = torch.arange(40.0).view(8, 5, 1)
    batch = Batch(latents.clone(), torch.zeros(8, 4))
    near = goals_of(batch, latents, 0.0, step_generator(0, 0))
    assert torch.equal(near.observations, near.latents)
    steps = near.latents[:, 0] - latents[:, 0, 0]
    assert bool(((steps >= 1) & (steps <= 4)).all())
    assert len(set(steps.tolist())) > 1
    far = goals_of(batch, latents, 1.0, step_generator(0, 0))
    assert sorted(far.latents[:, 0].tolist()) == latents[:, -1, 0].tolist()
    again = goals_of(batch, latents, 1.0, step_generator(0, 0))
    assert torch.equal(far.latents, again.latents)
    assert not torch.equal(far.latents, goals_of(batch, latents, 1.0, step_generator(0, 1)).latents)


def test_plans_of_a_policy_stay_inside_the_limits():
    space = ActionSpace(None, 2, -1.0, 3.0)
    policy = Policy(torch.nn.Linear(6, 8), 4, space.size, space.low, space.high)
    plans = policy(100 * torch.randn(50, 3), torch.randn(50, 3)).detach()
    assert plans.shape == (50, 4, 2)
    assert float(plans.min()) >= -1
    assert float(plans.max()) <= 3


def test_an_amortised_planner_learns_what_search_would_find():
    """Its plans come near to those of a long search, which cost a good deal less than its first ones."""
    parts = second_stage(
        "finetune=amortised", "finetune.far=0", "finetune.reach=4", "planner.horizon=4", "world.noise_std=0.0"
    )
    module, losses = parts.module, []
    optimizer = torch.optim.Adam(module.task.parameters(), 3e-3)
    for batch in list(parts.data.train_dataloader()) * 12:
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    planner = CEM(horizon=4, candidates=128, iterations=8, elites=16)
    with torch.no_grad():
        latents = module.observe(batch)
        goals = goals_of(batch, latents, 0.0, step_generator(0, 0)).latents
        space = parts.context.world.action_space
        cost = predicted_cost(module, planner, space, latents[:, 0], goals)
        drawn = planner.draw(len(goals), space, torch.Generator().manual_seed(0))
        searched = float(cost(plan(planner, cost, drawn, space)[:, None]).mean())
        answered = float(cost(module.policy(latents[:, 0], goals)[:, None]).mean())
    assert answered < 1.15 * searched, (losses[0], answered, searched)
    assert losses[0] > 1.3 * searched


def test_costs_are_counted_in_distances_of_start_from_goal():
    """Slow form, pair by pair: near goals count as much as far ones, but for those nearer than a hundredth."""
    parts = second_stage("finetune=amortised")
    module, batch = parts.module, next(iter(parts.data.train_dataloader()))
    planner, space = parts.context.planner, parts.context.world.action_space
    latents = module.observe(batch)
    goals = goals_of(batch, latents, 0.5, step_generator(module.seed, 0))
    apart = torch.stack([(z - g).square().sum() for z, g in zip(latents[:, 0], goals.latents, strict=True)])
    expected = []
    for row, distance in enumerate(apart):
        one = slice(row, row + 1)
        plans = module.policy(latents[one, 0], goals.latents[one])
        cost = predicted_cost(module, planner, space, latents[one, 0], goals.latents[one])
        expected.append(cost(plans[:, None])[0, 0] / max(distance, apart.mean() / 100))
    loss = module.task(module, batch, latents, step_generator(module.seed, 0))
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)
    assert float(apart.min()) < float(apart.mean()) / 10


def test_what_is_unfrozen_keeps_its_objective():
    """Over the steps that it was pretrained on, however long the windows of fine-tuning are."""
    for way in ("amortised", "value"):
        parts = second_stage(f"finetune={way}", "finetune.schedule.trained=[predictor]", "finetune.keep=2.0")
        module, batch = parts.module, next(iter(parts.data.train_dataloader()))
        assert batch.actions.shape[1] > 3
        kept = module.training_step(batch, 0)
        module.task.keep = 0.0
        bare = module.training_step(batch, 0)
        pretrained = build(compose(CONTINUOUS)).module
        pretrained.load_state_dict(module.state_dict(), strict=False)
        theirs = pretrained.training_step(Batch(batch.observations[:, :4], batch.actions[:, :3]), 0)
        torch.testing.assert_close(kept - bare, 2 * theirs)


def test_distillation_is_taught_the_planners_plans():
    parts = second_stage(*WAYS["distill"])
    parts.module.task.prepare(parts.module, parts.data.windows, 3)
    starts, goals, plans = parts.module.task.shown
    assert (starts.shape, goals.shape, plans.shape) == ((40, 4), (40, 4), (40, parts.context.planner.horizon, 2))
    first = plans.clone()
    parts.module.task.prepare(parts.module, parts.data.windows, 3)
    assert torch.equal(parts.module.task.shown[2], first)
    parts.module.task.prepare(parts.module, parts.data.windows, 4)
    assert not torch.equal(parts.module.task.shown[2], first)


def test_a_learned_distance_counts_steps():
    """Of random walks on a line: the number of steps between places, whatever the units of latents are."""
    module = second_stage("finetune=value", "finetune.discount=0.99", "finetune.far=0.3").module
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(module.task.parameters(), 1e-2)
    for step in range(800):
        moves = 2 * torch.randint(0, 2, (128, 5)) - 1
        moves[:, 0] = torch.randint(0, 10, (128,))
        latents = torch.zeros(128, 5, 4)
        latents[..., 0] = moves.cumsum(1) / 5 - 1
        batch = Batch(latents, torch.zeros(128, 4, 2))
        optimizer.zero_grad()
        module.task(module, batch, latents, step_generator(0, step)).backward()
        optimizer.step()
        module.task.after_step()
    places = torch.zeros(10, 4)
    places[:, 0] = torch.arange(10) / 5 - 1
    embedded = module.readout(places).detach()
    far = (embedded[:, None] - embedded[None]).norm(dim=-1)
    for apart, slack in ((1, 0.35), (4, 1.0)):
        found = far.diagonal(apart)
        assert bool(((found - apart).abs() < slack).all()), (apart, found)


@pytest.mark.parametrize("way", ["rollout", "distill"])
def test_the_second_stage_of_a_finished_run_is_the_run_from_the_start(way, tmp_path):
    """Same identity, same numbers to the last bit, and the pretrained checkpoint is left as it was."""
    overrides = [*WAYS[way], *STAGES[1:]]
    first = run(compose(CONTINUOUS), tmp_path / "first")
    held = digest(tmp_path / "first" / "checkpoints" / "last.ckpt")
    found = read_checkpoint(tmp_path / "first")
    config = following(found, overrides)
    adopt(found, config, tmp_path / "second")
    second = run(config, tmp_path / "second")
    whole = run(compose([*CONTINUOUS, STAGES[0], *overrides]), tmp_path / "whole")
    assert second.run_id == whole.run_id != first.run_id
    assert second.final == whole.final
    assert second.pretrained == whole.pretrained
    assert second.pretrained == first.final
    assert second.dials["parameters"] == first.dials["parameters"], "frozen parts are parts of the model"
    assert digest(tmp_path / "first" / "checkpoints" / "last.ckpt") == held
    assert digest(tmp_path / "second" / "checkpoints" / "pretrained.ckpt") == held
    for folder in ("second", "whole"):
        tested = [
            line for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines() if '"test/loss"' in line
        ]
        assert len(tested) == 2, "once at the end of each stage"
    rows = [
        row for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[1:] for row in json.loads(line)
    ]
    assert {(row["epoch"], row["step"]) for row in rows} == {(0, 10), (1, 20), (2, 28)}
    assert read_checkpoint(tmp_path / "whole").stage == "finetune"


def test_a_killed_second_stage_goes_on(tmp_path, monkeypatch):
    config = compose([*CONTINUOUS, *STAGES, "finetune=rollout", "finetune.schedule.epochs=2"])
    whole = run(config, tmp_path / "whole")
    from jepa_scale.training.finetune import FineTune

    step = FineTune.training_step

    def dies(self, batch, index):
        if self.global_step >= 11:
            raise OSError("killed")
        return step(self, batch, index)

    monkeypatch.setattr(FineTune, "training_step", dies)
    with pytest.raises(OSError, match="killed"):
        run(config, tmp_path / "killed")
    monkeypatch.setattr(FineTune, "training_step", step)
    assert run(config, tmp_path / "killed").final == whole.final


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages=[finetune]"], r"expected \[pretrain\] or \[pretrain, finetune\]"),
        (["stages=[pretrain,finetune]"], r"stages: expected \[pretrain\], or a way of fine-tuning .* as finetune=none"),
        (["finetune=rollout", "stages=[pretrain]"], r"expected \[pretrain, finetune\], as a way of fine-tuning is"),
        (
            [STAGES[0], "finetune=rollout", "finetune.horizon=21"],
            "windows of at most data.length=20 transitions, got 21",
        ),
        ([STAGES[0], "finetune=rollout", "data.length=1"], "windows of at most data.length=1 transitions, got 2"),
        ([STAGES[0], "finetune=rollout", "finetune.horizon=0"], "expected a horizon ≥ 1"),
        ([STAGES[0], "finetune=rollout", "finetune.schedule.trained=[decoder]"], "trained parts from encoder"),
        ([STAGES[0], "finetune=rollout", "finetune.schedule.trained=[]"], "parts of the model to train"),
        ([STAGES[0], "finetune=rollout", "finetune.schedule.lr=0"], "lr > 0"),
        ([STAGES[0], "finetune=amortised"], "expected a world with continuous actions, got discrete ones"),
        (
            ["world=point_mass", "planner=none", "finetune=amortised", "objective=vicreg"],
            "finetune: expected a planner whose plans are learnt, for example planner=cem, got planner=none",
        ),
        ([STAGES[0], "finetune=value", "finetune.expectile=1"], r"expectile in \[0.5, 1\)"),
        ([STAGES[0], "finetune=value", "finetune.horizont=1"], "finetune.horizont"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        preflight(compose([*(DISCRETE[:-1] if "planner=none" in overrides else DISCRETE), *overrides]))


def test_what_cannot_be_fine_tuned_is_refused(tmp_path):
    run(compose(DISCRETE), tmp_path / "run")
    found = read_checkpoint(tmp_path / "run")
    with pytest.raises(UserError, match=r"expected finetune=WAY or finetune\.KEY=VALUE only"):
        following(found, ["data.n=5000"])
    with pytest.raises(UserError, match=r"got step 19 of 20, in epoch 2 of 2: finish that run first"):
        following(replace(found, step=19), [])
    with pytest.raises(UserError, match="expected a way of fine-tuning, for example finetune=rollout, got none"):
        following(found, ["finetune=none"])
    with pytest.raises(UserError, match="unknown option 'finetune=magic'"):
        following(found, ["finetune=magic"])
    config = following(found, STAGES[1:])
    adopt(found, config, tmp_path / "tuned")
    run(config, tmp_path / "tuned")
    with pytest.raises(UserError, match="got one that is fine-tuned already"):
        following(read_checkpoint(tmp_path / "tuned"), [])


def test_stages_follow_from_the_way_that_is_chosen():
    assert compose(DISCRETE)["stages"] == ["pretrain"]
    chosen = compose([*DISCRETE, "finetune=rollout"])
    assert chosen["stages"] == ["pretrain", "finetune"]
    assert run_id(chosen) == run_id(compose([*DISCRETE, "finetune=rollout", STAGES[0]]))


def test_amortised_plans_are_refined_in_blocks_as_at_once():
    parts = second_stage("finetune=amortised")
    at_once, blocks = (
        tried(
            replace(parts.context, evaluation=replace(parts.context.evaluation, episodes=6, pairs=pairs)), parts.module
        )
        for pairs in (None, 4)
    )
    for name in ("policy", "refined"):
        assert torch.equal(at_once.outcomes[name].steps, blocks.outcomes[name].steps)
        assert torch.equal(at_once.outcomes[name].ever, blocks.outcomes[name].ever)
    assert len(blocks.outcomes["refined"].ever) == 6


def test_distances_that_were_learned_are_planned_with():
    """By anybody who plans with the model: what its readout leaves out costs nothing."""
    module = second_stage("finetune=value").module
    space, planner = ActionSpace(None, 2), CEM(horizon=2, candidates=16, iterations=2, elites=4)
    found = plan_with(module, planner, torch.randn(3, 36), torch.randn(3, 36), space, 0)
    assert float(found.costs.detach().max()) > 0
    torch.nn.init.zeros_(module.task.embedding[-1].weight)
    assert plan_with(module, planner, torch.randn(3, 36), torch.randn(3, 36), space, 0).costs.tolist() == [0, 0, 0]


def test_a_plan_of_another_length_than_the_networks_can_be_evaluated(tmp_path):
    run(compose([*CONTINUOUS, "finetune=amortised", *STAGES[1:]]), tmp_path / "tuned")
    (longer,) = evaluate([tmp_path / "tuned"], ["planner.horizon=5"])
    names = {row.name for row in longer.record.estimates}
    assert "success/policy" in names
    assert "success/refined" not in names, "a search cannot start from a plan of another length"
    (same,) = evaluate([tmp_path / "tuned"])
    assert {"success/policy", "success/refined"} <= {row.name for row in same.record.estimates}
    assert same.record.trained == "fine-tuned, AmortisedPlanner"


def test_models_of_a_finite_world_are_compared_in_one_table(tmp_path, capsys):
    run(compose(DISCRETE), tmp_path / "one")
    found = read_checkpoint(tmp_path / "one")
    config = following(found, STAGES[1:])
    adopt(found, config, tmp_path / "two")
    run(config, tmp_path / "two")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "-v", str(tmp_path / "one"), str(tmp_path / "two")])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "Models compared" in shown
    assert "pretrained)" in shown
    assert "fine-tuned, RollOutConsistency)" in shown


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_run_without_a_checkpoint_yet_says_so(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.yaml").write_text("{}" if name == "one" else "seed: 0")
    with pytest.raises(UserError, match="has no checkpoint yet"):
        read_checkpoint(tmp_path / name)


def test_schedules_name_parts():
    with pytest.raises(ValueError, match="trained parts"):
        Schedule(trained=("head",))
