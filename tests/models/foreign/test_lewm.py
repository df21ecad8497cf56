"""LeWM's files: a stand-in of its layout, of torch's own layers, gives the same numbers."""

import json
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from jepa_scale.data.store import write_episodes
from jepa_scale.models.foreign.read import read_foreign, weights_of
from jepa_scale.records import ActionSpace, Episodes
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.evaluate import evaluate

HIDDEN, WIDTH, SIZE, HISTORY, SIDE, PATCH = 128, 24, 4, 3, 28, 14


def encoder_layer():
    return nn.TransformerEncoderLayer(HIDDEN, HIDDEN // 64, 2 * HIDDEN, 0.0, "gelu", 1e-12, True, True)


class StandIn(nn.Module):
    """ViT, projectors, action encoder and a causal transformer modulated by actions, of torch's own layers."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, HIDDEN))
        self.places = nn.Parameter(torch.randn(1, 1 + (SIDE // PATCH) ** 2, HIDDEN))
        self.patches = nn.Conv2d(3, HIDDEN, PATCH, PATCH)
        self.layers = nn.ModuleList([encoder_layer() for _ in range(2)])
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.projector, self.pred_proj = (
            nn.Sequential(nn.Linear(HIDDEN, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, WIDTH)) for _ in range(2)
        )
        self.smooth = nn.Conv1d(SIZE, 10, 1)
        self.embed = nn.Sequential(nn.Linear(10, 4 * WIDTH), nn.SiLU(), nn.Linear(4 * WIDTH, WIDTH))
        self.past = nn.Parameter(torch.randn(1, HISTORY, WIDTH))
        self.inwards, self.condition = nn.Linear(WIDTH, HIDDEN), nn.Linear(WIDTH, HIDDEN)
        self.attended = nn.ModuleList([nn.MultiheadAttention(HIDDEN, 2, batch_first=True) for _ in range(2)])
        self.inner = nn.ModuleList([nn.LayerNorm(HIDDEN) for _ in range(2)])
        self.mlps = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, 64), nn.GELU(), nn.Linear(64, HIDDEN))
                for _ in range(2)
            ]
        )
        self.modulations = nn.ModuleList([nn.Linear(HIDDEN, 6 * HIDDEN) for _ in range(2)])
        self.last = nn.LayerNorm(HIDDEN)
        for attention in self.attended:
            # It has no bias before the heads.
            nn.init.zeros_(attention.in_proj_bias)
        with torch.no_grad():
            for name, buffer in self.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_()
                if name.endswith("running_var"):
                    buffer.uniform_(0.5, 2.0)

    def encode(self, images):
        mean = torch.tensor([0.485, 0.456, 0.406])
        deviation = torch.tensor([0.229, 0.224, 0.225])
        pixels = ((images.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], 1) + self.places
        for layer in self.layers:
            tokens = layer(tokens)
        return self.projector(self.norm(tokens)[:, 0])

    def act(self, actions):
        return self.embed(self.smooth(actions.transpose(1, 2)).transpose(1, 2))

    def ahead(self, latents, acting):
        steps = latents.shape[1]
        tokens, condition = self.inwards(latents + self.past[:, :steps]), self.condition(acting)
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        flat = nn.LayerNorm(HIDDEN, eps=1e-6, elementwise_affine=False)
        for attention, inner, mlp, modulation in zip(
            self.attended, self.inner, self.mlps, self.modulations, strict=True
        ):
            a, b, c, d, e, f = modulation(nn.functional.silu(condition)).chunk(6, -1)
            inside = inner(flat(tokens) * (1 + b) + a)
            tokens = tokens + c * attention(inside, inside, inside, attn_mask=mask, need_weights=False)[0]
            tokens = tokens + f * mlp(flat(tokens) * (1 + e) + d)
        return self.pred_proj(self.last(tokens)[:, -1])

    def roll(self, latents, actions):
        """One by one, from the last three latents."""
        path = [latents]
        for step in range(actions.shape[1]):
            first = max(0, step + 1 - HISTORY)
            seen = torch.stack(path[first : step + 1], 1)
            path.append(self.ahead(seen, self.act(actions[:, first : step + 1])))
        return torch.stack(path[1:], 1)

    def saved(self):
        """By the names of stable-worldmodel and Hugging Face."""
        names = {"encoder.embeddings.cls_token": self.token, "encoder.embeddings.position_embeddings": self.places}

        def take(prefix, module, rename=lambda name: name):
            names.update({f"{prefix}.{rename(name)}": value for name, value in module.state_dict().items()})

        take("encoder.embeddings.patch_embeddings.projection", self.patches)
        for number, layer in enumerate(self.layers):
            place = f"encoder.encoder.layer.{number}"
            parts = zip(("query", "key", "value"), layer.self_attn.in_proj_weight.chunk(3),
                        layer.self_attn.in_proj_bias.chunk(3), strict=True)  # fmt: skip
            for name, weight, bias in parts:
                names |= {f"{place}.attention.attention.{name}.weight": weight,
                          f"{place}.attention.attention.{name}.bias": bias}  # fmt: skip
            take(f"{place}.attention.output.dense", layer.self_attn.out_proj)
            take(f"{place}.intermediate.dense", layer.linear1)
            take(f"{place}.output.dense", layer.linear2)
            take(f"{place}.layernorm_before", layer.norm1)
            take(f"{place}.layernorm_after", layer.norm2)
        take("encoder.layernorm", self.norm)
        take("projector.net", self.projector)
        take("pred_proj.net", self.pred_proj)
        take("action_encoder.patch_embed", self.smooth)
        take("action_encoder.embed", self.embed)
        names["predictor.pos_embedding"] = self.past
        take("predictor.transformer.input_proj", self.inwards)
        take("predictor.transformer.cond_proj", self.condition)
        take("predictor.transformer.norm", self.last)
        for number in range(2):
            place = f"predictor.transformer.layers.{number}"
            take(f"{place}.attn.norm", self.inner[number])
            names[f"{place}.attn.to_qkv.weight"] = self.attended[number].in_proj_weight
            take(f"{place}.attn.to_out.0", self.attended[number].out_proj)
            take(f"{place}.mlp.net", self.mlps[number], lambda name: name.replace("3.", "4.", 1))
            take(f"{place}.adaLN_modulation.1", self.modulations[number])
        return {name: value.detach().clone() for name, value in names.items()}


@pytest.fixture(scope="module")
def stand_in():
    torch.manual_seed(0)
    return StandIn().eval()


@pytest.fixture
def folder(stand_in, tmp_path):
    place = tmp_path / "lewm_pusht"
    place.mkdir()
    torch.save(stand_in.saved(), place / "weights_epoch_10.pt")
    (place / "config.json").write_text(json.dumps({"img_size": SIDE, "wm": {"history_size": HISTORY}}))
    return place


@torch.no_grad()
def test_it_gives_the_numbers_of_the_stand_in(stand_in, folder):
    mean, deviation = torch.tensor([0.1, -0.2, 0.1, -0.2]), torch.tensor([2.0, 0.5, 2.0, 0.5])
    model = read_foreign(folder).model(mean, deviation)
    assert (model.width, model.history, model.action_size) == (WIDTH, HISTORY, SIZE)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    latents = model.encode(images)
    torch.testing.assert_close(latents, stand_in.encode(images), rtol=1e-4, atol=1e-4)
    actions = torch.randn(3, 6, SIZE, generator=generator)
    wanted = stand_in.roll(latents, (actions - mean) / deviation)
    torch.testing.assert_close(model.roll_out(latents, actions), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.predict(latents, actions[:, 0]), wanted[:, 0], rtol=1e-4, atol=1e-4)
    many = model.roll_out(latents[:, None].expand(-1, 2, -1), actions[:, None].expand(-1, 2, -1, -1))
    torch.testing.assert_close(many[:, 1], wanted, rtol=1e-4, atol=1e-4)
    larger = images.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert (model.encode(larger) - latents).abs().mean() < 0.3 * latents.std(), "resized to what it was trained on"


def test_other_files_are_refused(stand_in, folder, tmp_path):
    saved = stand_in.saved()
    assert weights_of(folder) == folder / "weights_epoch_10.pt"
    torch.save({"state_dict": {f"model.{name}": value for name, value in saved.items()}}, tmp_path / "lightning.pt")
    assert read_foreign(tmp_path / "lightning.pt").action_size == SIZE
    torch.save(stand_in, tmp_path / "object.pt")
    with pytest.raises(ValueError, match="a pickled model, which runs code"):
        read_foreign(tmp_path / "object.pt")
    torch.save({"predictor.layers.0.weight": torch.zeros(1)}, tmp_path / "dino.pt")
    with pytest.raises(ValueError, match=r"weights of a LeWM .*, got predictor: of DINO-WM"):
        read_foreign(tmp_path / "dino.pt")
    torch.save({name: value for name, value in saved.items() if "norm" not in name}, tmp_path / "part.pt")
    with pytest.raises(ValueError, match="expected the weights of a LeWM, got others"):
        read_foreign(tmp_path / "part.pt").model(torch.zeros(SIZE), torch.ones(SIZE))
    (tmp_path / "cut.pt").write_bytes((folder / "weights_epoch_10.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        read_foreign(tmp_path / "cut.pt")


class Dot(gymnasium.Env):
    """A bright dot on a dark plane, moved by its action."""

    observation_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def _seen(self):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        row, column = np.clip((self.x * 8 + SIDE / 2).astype(int), 2, SIDE - 3)
        image[row - 2 : row + 3, column - 2 : column + 3] = 255
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2)
        return self._seen(), {"success": False}

    def step(self, action):
        self.x = np.clip(self.x + 0.1 * np.asarray(action), -1.5, 1.5)
        return self._seen(), 0.0, False, False, {"success": bool(np.linalg.norm(self.x) < 0.3)}


@pytest.fixture
def recording(tmp_path):
    gymnasium.register("Dot-v0", Dot, max_episode_steps=20)
    made, generator = Dot(), np.random.default_rng(0)
    images, actions = [], []
    for number in range(40):
        images.append(made.reset(seed=number)[0])
        for _ in range(12):
            actions.append(generator.uniform(-1, 1, 2))
            images.append(made.step(actions[-1])[0])
        actions.append(np.zeros(2))
    usable = np.tile(np.r_[np.ones(12, bool), False], 40)
    found = Episodes(
        np.stack(images), np.float32(actions), np.full(40, 13), usable, ActionSpace(None, 2), source="dots"
    )
    yield str(write_episodes(found, tmp_path / "dots.h5"))
    del gymnasium.registry["Dot-v0"]


def test_it_is_evaluated_where_its_recording_was_made(folder, recording, tmp_path):
    settings = [
        "world=recorded", f"world.path={recording}", "world.environment=Dot-v0", "world.frameskip=2", "planner=cem",
        "world.play={goals: data, success: environment, budget: 4}", "planner.horizon=2", "planner.candidates=8",
        "planner.iterations=1", "planner.elites=2", "evaluation=lewm", "evaluation.episodes=3", "data.length=4",
        "world.check_alignment=false",
    ]  # fmt: skip
    done = evaluate([folder], settings, tmp_path / "out")[0]
    names = {row.name for row in done.record.estimates}
    assert {"success/model", "success/random", "regret/distance"} <= names
    assert any(name.startswith("prediction/") for name in names)
    assert done.record.trained.startswith("LeWM of another program, k = 24")
    assert done.path.is_file()
    assert json.loads(done.path.read_text())["checkpoint"] == read_foreign(folder).digest
    with pytest.raises(UserError, match=r"actions of 4 coordinates, .* got 2 coordinates: set world\.frameskip"):
        evaluate([folder], [text for text in settings if "frameskip" not in text], tmp_path / "out")
    with pytest.raises(UserError, match="expected world=recorded"):
        evaluate([folder], ["planner=cem"], tmp_path / "out")


def test_without_a_recording_actions_are_taken_as_they_are_and_it_is_said(folder, recording, tmp_path):
    del recording  # its environment is wanted
    settings = [
        "world=gymnasium", "world.environment=Dot-v0", "world.frameskip=2", "planner=none", "world.store=false",
        "data.heldout=640", "data.test=640",
    ]  # fmt: skip
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        evaluate([folder], settings, tmp_path / "out")
    assert any("holds no scale of actions" in str(one.message) for one in told)
