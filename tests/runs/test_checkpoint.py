"""Checkpoints that are read back, and those that are not what they seem."""

import pickle

import pytest
import torch

from jepa_scale.runs.build import build
from jepa_scale.runs.checkpoint import read_checkpoint, restore
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.run import run

TINY = [
    "world=torus", "world.side=3", "model.k=4", "model.hidden=8", "data.n=300", "data.heldout=700", "data.test=700",
    "data.batch_size=32", "trainer.epochs=1", "trainer.steps_per_epoch=5", "logger=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    run(compose(TINY), path)
    return path


def test_weights_and_configuration_come_back(folder):
    found = read_checkpoint(folder)
    assert found.config == compose(TINY)
    module = build(found.config).module
    before = [weight.clone() for weight in module.parameters()]
    restore(found, module)
    assert any(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert all(torch.equal(weight, found.state[name]) for name, weight in module.state_dict().items())


def test_a_model_of_another_world_is_refused(folder):
    found = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match=r"expected encoder.* of shape .*, as this world and model have"):
        restore(found, build(compose([*TINY, "world.side=4"])).module)
    with pytest.raises(UserError, match=r"expected a checkpoint of this model and this world, but it has"):
        restore(found, build(compose([*TINY, "predictor=bilinear"])).module)


def test_what_is_no_checkpoint_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="expected a checkpoint, or the folder of a run that has one, found none"):
        read_checkpoint(tmp_path)
    garbage = tmp_path / "garbage.ckpt"
    garbage.write_bytes((folder / "checkpoints" / "last.ckpt").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(garbage)
    code = tmp_path / "code.ckpt"
    code.write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match="cannot be read as a checkpoint of tensors and plain values"):
        read_checkpoint(code)
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, other)
    with pytest.raises(UserError, match="got another file"):
        read_checkpoint(other)
    older = tmp_path / "older.ckpt"
    config = dict(compose(TINY))
    del config["evaluation"]
    torch.save({"state_dict": {}, "jepa_scale": config, "epoch": 0, "global_step": 5}, older)
    with pytest.raises(UserError, match=r"another version, or by hand: .*'evaluation' is missing"):
        read_checkpoint(older)
