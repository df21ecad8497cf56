"""The callbacks on LightningModules that know nothing of this package, as those of other projects are written."""

import types
import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import jepa_scale
from jepa_scale.callbacks import EmbeddingRank, OperatorSpectrum, PlanningSuccess, RegretBounds
from jepa_scale.metrics import RankMe, SpectralTotal

WIDTH = 4


def rows(count=640, seed=0):
    """Observations, discrete actions and what follows, with the trajectory of each row."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    action = torch.randint(0, 2, (count,), generator=generator)
    following = torch.where(action[:, None] == 1, x.flip(1), x) + 0.3 * torch.randn(count, 6, generator=generator)
    return TensorDataset(x, action, following, torch.arange(count) // 8)


def loader(count=640, seed=0):
    return DataLoader(rows(count, seed), batch_size=80)


class Plain(L.LightningModule):
    """A JEPA as anybody would write it."""

    validates = True

    def __init__(self):
        super().__init__()
        self.encoder, self.table = nn.Linear(6, WIDTH), nn.Embedding(2, WIDTH)
        self.predictor = nn.Linear(2 * WIDTH, WIDTH)

    def predict(self, x, action):
        return self.predictor(torch.cat([self.encoder(x), self.table(action)], -1))

    def training_step(self, batch, index):
        return (self.predict(batch[0], batch[1]) - self.encoder(batch[2]).detach()).square().mean()

    def validation_step(self, batch, index):
        self.log("loss/validation", self.training_step(batch, index))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


def embed(module, batch):
    return module.predict(batch[0], batch[1]), module.encoder(batch[2])


def fitted(module, callbacks, tmp_path, epochs=2, validation=True, **more):
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger"), False)
    checkpoints = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    settings = {"accelerator": "cpu", "num_sanity_val_steps": 0, "enable_checkpointing": checkpoints, **quiet, **more}
    trainer = L.Trainer(max_epochs=epochs, callbacks=callbacks, default_root_dir=tmp_path, **settings)
    trainer.fit(module, loader(), loader(320, 1) if validation else None)
    return trainer


def test_values_are_those_of_the_metrics_on_the_validation_set(tmp_path):
    module = Plain()
    callback = OperatorSpectrum(embed, action=lambda b: b[1], group=lambda b: b[3], actions=2)
    trainer = fitted(module, [callback], tmp_path, num_sanity_val_steps=2)
    x, action, following, group = rows(320, 1).tensors
    with torch.no_grad():
        predicted, target = module.predict(x, action), module.encoder(following)
    total, rank = SpectralTotal(WIDTH, actions=2), RankMe(WIDTH)
    total.update(predicted, target, action, group)
    rank.update(target, group=group)
    logged = trainer.callback_metrics
    assert float(logged["spectrum/total"]) == pytest.approx(float(total.compute()), rel=1e-5)
    assert float(logged["spectrum/total/standard_error"]) == pytest.approx(total.standard_error, rel=1e-4)
    assert float(logged["spectrum/rankme_sv_uncentred"]) == pytest.approx(float(rank.compute()), rel=1e-5)
    assert float(logged["spectrum/n"]) == 320, "no row of the sanity check, and none of an earlier epoch"
    assert {"spectrum/gap", "spectrum/loss", "spectrum/calibration_deficit", "spectrum/lidar_wm"} <= set(logged)


def test_lightnings_own_callbacks_and_loggers_see_the_values(tmp_path):
    spectrum = OperatorSpectrum(embed)
    stop = EarlyStopping("spectrum/total", mode="max", patience=0, min_delta=100.0)
    best = ModelCheckpoint(tmp_path, monitor="spectrum/loss", filename="{epoch}", save_top_k=1)
    trainer = fitted(
        Plain(), [spectrum, stop, best], tmp_path, epochs=6, logger=CSVLogger(tmp_path, name="", version="csv")
    )
    assert trainer.current_epoch == 2, "no value rises by 100"
    assert best.best_model_score == pytest.approx(float(best.best_k_models[best.best_model_path]))
    assert "spectrum/total" in (tmp_path / "csv" / "metrics.csv").read_text()


def test_a_loader_of_its_own_needs_no_validation(tmp_path):
    class Unvalidated(Plain):
        validation_step = L.LightningModule.validation_step

    module = Unvalidated()
    trainer = fitted(module, [OperatorSpectrum(embed, dataloader=loader(320, 1))], tmp_path, validation=False)
    assert float(trainer.callback_metrics["spectrum/n"]) == 320
    assert module.training


def test_the_sanity_check_is_not_looked_at(tmp_path):
    with warnings.catch_warnings():
        # One batch of it is too few rows for a value.
        warnings.filterwarnings("error", message=".*has no value.*")
        fitted(Plain(), [OperatorSpectrum(embed)], tmp_path, num_sanity_val_steps=1)


@pytest.mark.parametrize("own", [True, False])
def test_validation_alone_logs_too(own, tmp_path):
    callback = OperatorSpectrum(embed, dataloader=loader(320, 1) if own else None, every_n_epochs=7)
    trainer = L.Trainer(callbacks=[callback], accelerator="cpu", logger=False, enable_progress_bar=False,
                        default_root_dir=tmp_path)  # fmt: skip
    (found,) = trainer.validate(Plain(), loader(320, 1), verbose=False)
    assert found["spectrum/n"] == 320
    assert 0 < found["spectrum/total"] <= WIDTH


def test_a_callback_that_can_do_nothing_says_so(tmp_path):
    with pytest.warns(UserWarning, match="OperatorSpectrum will log nothing: it runs on validation batches"):
        fitted(Plain(), [OperatorSpectrum(embed)], tmp_path, validation=False)
    with pytest.warns(UserWarning, match="EmbeddingRank has logged nothing: no batch reached it in 2 epochs"):
        fitted(Plain(), [EmbeddingRank(lambda m, b: m.encoder(b[0]), every_n_epochs=5)], tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*has logged nothing.*|.*will log nothing.*")
        fitted(Plain(), [EmbeddingRank(lambda m, b: m.encoder(b[0]))], tmp_path)


def test_what_embed_returns_is_checked(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected embed\(module, batch\) to return \(predicted, target\), two tensors"
    ):
        fitted(Plain(), [OperatorSpectrum(lambda m, b: m.encoder(b[0]))], tmp_path)
    with pytest.raises(ValueError, match="to return a tensor, got tuple"):
        fitted(Plain(), [EmbeddingRank(embed)], tmp_path)
    for settings in ({"actions": 2}, {"action": lambda b: b[1]}):
        with pytest.raises(ValueError, match="expected both action="):
            OperatorSpectrum(embed, **settings)
    with pytest.raises(ValueError, match="got an iterator, which ends once"):
        OperatorSpectrum(embed, dataloader=iter(loader()))
    with pytest.raises(ValueError, match="every_n_epochs ≥ 1"):
        OperatorSpectrum(embed, every_n_epochs=0)


def test_few_rows_are_logged_as_missing_with_a_warning(tmp_path):
    module = Plain()
    with pytest.warns(UserWarning, match="SpectralTotal has no value: 40 rows are too few"):
        trainer = fitted(module, [OperatorSpectrum(embed, dataloader=loader(40))], tmp_path, validation=False)
    assert torch.isnan(trainer.callback_metrics["spectrum/total"])
    assert torch.isfinite(trainer.callback_metrics["spectrum/loss"]), "unbiased at any size"
    assert torch.isfinite(trainer.callback_metrics["spectrum/rankme_sv_uncentred"])


def test_modules_of_stable_pretraining(tmp_path):
    """``spt.Module(forward=…)``: a forward that returns a dict, batches that are dicts."""

    def forward(self, batch, stage):
        out = {"embedding": self.backbone(batch["image"])}
        if stage == "fit":
            out["loss"] = out["embedding"].square().mean()
        return out

    class Module(L.LightningModule):
        def __init__(self, forward, **parts):
            super().__init__()
            self.forward = types.MethodType(forward, self)
            for name, part in parts.items():
                setattr(self, name, part)

        def training_step(self, batch, index):
            return self.forward(batch, "fit")

        def validation_step(self, batch, index):
            return self.forward(batch, "validate")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    images = [{"image": torch.randn(32, 3, 8, 8), "index": torch.arange(32)} for _ in range(4)]
    module = Module(forward, backbone=nn.Sequential(nn.Flatten(), nn.Linear(192, 24)))
    # The recipe: the embedding of whatever the module's forward returns.
    monitor = EmbeddingRank(lambda m, batch: m.forward(batch, "validate")["embedding"])
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[monitor], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(images, batch_size=None), DataLoader(images, batch_size=None))
    assert 1 < float(trainer.callback_metrics["embedding/rankme_sv_uncentred"]) <= 24
    assert "embedding/alpha_req" in trainer.callback_metrics


def test_modules_of_lewm(tmp_path):
    """LeWorldModel: sequences of tokens (B, T, d), an encoder of pixels and an action-conditioned predictor."""

    class World(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder, self.action_encoder = nn.Linear(12, WIDTH), nn.Linear(2, WIDTH)
            self.predictor = nn.GRU(WIDTH, WIDTH, batch_first=True)

        def predict(self, emb, act_emb):
            return self.predictor(emb + act_emb)[0]

        def step(self, batch):
            emb, act_emb = self.encoder(batch["pixels"]), self.action_encoder(batch["action"])
            return self.predict(emb[:, :-1], act_emb[:, :-1]), emb[:, 1:]

        def training_step(self, batch, index):
            predicted, target = self.step(batch)
            return (predicted - target).square().mean()

        def validation_step(self, batch, index):
            pass

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-3)

    batches = [
        {"pixels": torch.randn(16, 9, 12), "action": torch.randn(16, 9, 2), "episode": torch.arange(16) + 16 * i}
        for i in range(6)
    ]
    # The recipe: predictions and targets of a window, with its episode at every step.
    monitor = OperatorSpectrum(
        lambda m, batch: m.step(batch), group=lambda batch: batch["episode"][:, None].expand(-1, 8)
    )
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[monitor], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(World(), DataLoader(batches, batch_size=None), DataLoader(batches, batch_size=None))
    assert float(trainer.callback_metrics["spectrum/n"]) == 6 * 16 * 8


def test_modules_of_eb_jepa(tmp_path):
    """eb_jepa: a plain ``nn.Module`` JEPA with ``encode`` and ``unroll`` of (B, C, T, H, W), trained by hand."""

    class JEPA(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Conv3d(2, WIDTH, (1, 4, 4))
            self.predictor = nn.Conv3d(WIDTH, WIDTH, 1)

        def encode(self, observations):
            return self.encoder(observations)

        def unroll(self, observations):
            state = self.encode(observations)
            return self.predictor(state[:, :, :-1]), state[:, :, 1:]

    jepa = JEPA()
    total = SpectralTotal(WIDTH)
    # The recipe without a trainer: channels last, a row for every frame.
    for video in range(8):
        with torch.no_grad():
            predicted, target = (part.movedim(1, -1) for part in jepa.unroll(torch.randn(8, 2, 6, 4, 4)))
        clip = torch.arange(8 * video, 8 * video + 8)[:, None, None, None].expand(predicted.shape[:-1])
        total.update(predicted, target, group=clip)
    assert 0 <= float(total.compute()) < WIDTH
    assert total.n == 8 * 8 * 5


class InWorld(L.LightningModule):
    """A model of a finite world with four actions."""

    def __init__(self, size, width=8):
        super().__init__()
        self.encoder, self.moves = nn.Linear(size, width), nn.Embedding(4, width * width)
        self.width = width

    def predictor(self, z, action):
        return (self.moves(action).view(-1, self.width, self.width) @ z[..., None])[..., 0]

    def training_step(self, batch, index):
        return (self.predictor(self.encoder(batch[0]), batch[1]) - self.encoder(batch[2])).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def test_bounds_and_regret_in_a_finite_world(tmp_path):
    world = jepa_scale.world("lowrank", states=20)
    drawn = world.sample(40, 8, seed=0)
    x = torch.as_tensor(drawn.observations).float()
    data = TensorDataset(x[:, :-1].flatten(0, 1), torch.as_tensor(drawn.actions).flatten(), x[:, 1:].flatten(0, 1))
    model = {"encode": lambda m, o: m.encoder(o), "predict": lambda m, z, a: m.predictor(z, a)}
    callbacks = [RegretBounds(world, **model), PlanningSuccess(world, **model)]
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(InWorld(x.shape[-1]), DataLoader(data, batch_size=32))
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert 0 <= logged["regret/density"] <= 1
    assert logged["regret/random"] > 0
    assert logged["bound/best"] >= logged["regret/density"], "a bound that applies holds"


def test_success_in_a_simulator(tmp_path):
    from jepa_scale.planners.cem import CEM
    from jepa_scale.records import Evaluation

    world = jepa_scale.world("point_mass")
    size = world.observation_shape[0]

    class Model(L.LightningModule):
        """Sees the world as it is and predicts that actions add up."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def training_step(self, batch, index):
            return (self.scale - 1.0) ** 2

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = PlanningSuccess(
        world, lambda m, o: o, lambda m, z, a: torch.cat([z[:, :2] + 0.1 * a[:, :2], z[:, 2:]], -1),
        planner=CEM(horizon=3, candidates=32, elites=4, iterations=2),
        evaluation=Evaluation(episodes=6, same_cost_episodes=2),
    )  # fmt: skip
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Model(), DataLoader(TensorDataset(torch.zeros(4, size)), batch_size=2))
    logged = trainer.callback_metrics
    assert {"success/model", "success/oracle", "success/random", "success/do_nothing"} <= set(logged)
    assert 0 <= float(logged["success/model"]) <= 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RegretBounds(jepa_scale.world("point_mass"), None, None), "expected a finite world"),
        (lambda: PlanningSuccess(jepa_scale.world("point_mass"), None, None), "expected planner="),
        (lambda: jepa_scale.world("torsu"), "expected a world of deterministic_grid"),
        (lambda: jepa_scale.world("lowrank", stats=3), "expected settings of action_count"),
    ],
)
def test_worlds_and_planners_that_do_not_fit_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_an_encoder_that_returns_another_shape_is_named():
    world = jepa_scale.world("lowrank", states=20)
    callback = RegretBounds(world, lambda m, o: m.encoder(o)[0], lambda m, z, a: z)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = TensorDataset(torch.eye(20), torch.zeros(20, dtype=torch.long), torch.eye(20))
    with pytest.raises(ValueError, match=r"expected encode to return \(20, k\), got \(8,\)"):
        trainer.fit(InWorld(20), DataLoader(data, batch_size=10))
