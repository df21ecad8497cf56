"""Lower precision and compilation speed training up, and leave estimates and checkpoints as they are."""

import dataclasses

import pytest
import torch

from jepa_scale.callbacks.base import tabulate
from jepa_scale.callbacks.spectrum import SpectrumCallback, split_estimates
from jepa_scale.runs.build import build
from jepa_scale.runs.checkpoint import read_checkpoint, restore
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run
from jepa_scale.training.pretrain import Pretrain
from tests.callbacks.test_requeue import POINT_MASS, TINY

VECTORS = [*POINT_MASS[:-2], "objective=vicreg"]
SETTINGS = {
    "bf16": ["trainer.precision=bf16-mixed"],
    "compile": ["trainer.compile=true"],
    "both": ["trainer.precision=bf16-mixed", "trainer.compile=true"],
}


@pytest.fixture
def uncompiled(monkeypatch):
    """What would be compiled, and whether it was called; compiling itself takes half a minute."""
    calls = []

    def compile(function):
        def fast(*inputs):
            calls.append(function)
            return function(*inputs)

        return fast

    monkeypatch.setattr(torch, "compile", compile)
    return calls


def check_estimates(folder, config, last=1):
    """The last epoch's estimates are those of the saved weights in full precision, made by the modules themselves."""
    parts = build(config)
    restore(read_checkpoint(folder), parts.module)
    torch.set_num_threads(1)
    parts.module.eval()
    rows = {row["name"]: row for row in RunFolder(folder).read_metrics() if row["epoch"] == last}
    expected = split_estimates("spectrum", parts.module, parts.data.heldout, parts.context, last, 0)
    for one in expected:
        value = list(one.value) if isinstance(one.value, tuple) else one.value
        assert rows[one.name]["value"] == value, one.name
    assert all(tensor.dtype != torch.bfloat16 for tensor in read_checkpoint(folder).state.values())


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "fast"])
def test_weights_are_of_32_bits(precision):
    with pytest.raises(UserError, match=f"trainer.precision: expected 32-true or bf16-mixed, got {precision}"):
        compose([*TINY, f"trainer.precision={precision}"])


def test_estimates_of_mixed_precision_are_made_in_full(tmp_path, monkeypatch):
    seen = []
    step, estimates = Pretrain.note, SpectrumCallback.estimates

    def note(self, loss, latents):
        seen.append((latents.dtype, loss.dtype))
        step(self, loss, latents)

    def watch(self, trainer, module):
        assert not torch.is_autocast_enabled("cpu")
        observed = torch.as_tensor(module.trainer.datamodule.heldout.observations[:2])
        assert module.encode(observed).dtype == torch.float32
        return estimates(self, trainer, module)

    monkeypatch.setattr(Pretrain, "note", note)
    monkeypatch.setattr(SpectrumCallback, "estimates", watch)
    config = compose([*TINY, *SETTINGS["bf16"]])
    run(config, tmp_path / "run")
    assert set(seen) == {(torch.bfloat16, torch.float32)}, "networks in 8 bits, the loss in 24"
    check_estimates(tmp_path / "run", config)
    run(compose(TINY), tmp_path / "full")
    ours, theirs = (read_checkpoint(tmp_path / name).state for name in ("run", "full"))
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("overrides", [TINY, VECTORS, [*VECTORS, "predictor=transformer"]])
def test_compiled_parts_are_called_in_training_alone(overrides, uncompiled, tmp_path, monkeypatch):
    config = compose([*overrides, "trainer.compile=true"])
    estimates = SpectrumCallback.estimates

    def watch(self, trainer, module):
        before = len(uncompiled)
        found = estimates(self, trainer, module)
        if self.context.exact is not None:
            tabulate(module, self.context.exact.world)
        assert len(uncompiled) == before
        return found

    monkeypatch.setattr(SpectrumCallback, "estimates", watch)
    run(config, tmp_path / "fast")
    called = {function.__self__.__class__.__name__ for function in uncompiled}
    assert len(called) == 2 or called == {"Normalised"}
    run(compose(overrides), tmp_path / "plain")
    fast, plain = (read_checkpoint(tmp_path / name).state for name in ("fast", "plain"))
    assert fast.keys() == plain.keys()
    assert all(torch.equal(fast[name], plain[name]) for name in plain)
    # Either is put into a model of the other.
    restore(dataclasses.replace(read_checkpoint(tmp_path / "fast")), build(compose(overrides)).module)


@pytest.mark.slow
def test_a_compiled_run_ends_near_one_that_is_not(tmp_path):
    config = compose([*TINY, *SETTINGS["compile"]])
    run(config, tmp_path / "fast")
    run(compose(TINY), tmp_path / "plain")
    fast, plain = (read_checkpoint(tmp_path / name).state for name in ("fast", "plain"))
    assert fast.keys() == plain.keys()
    for name in plain:
        # Eight steps of Adam, which turns the rounding of small gradients into steps of the same size.
        torch.testing.assert_close(fast[name], plain[name], rtol=1e-3, atol=1e-4)
    check_estimates(tmp_path / "fast", config)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [None, *SETTINGS])
@pytest.mark.parametrize("overrides", [TINY, VECTORS], ids=["finite", "vectors"])
def test_on_an_accelerator(name, overrides, tmp_path):
    """Trained there, estimated in full precision; as many ranks as there are devices, up to two."""
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    devices = min(2, torch.cuda.device_count())
    settings = [*overrides, "trainer.accelerator=gpu", f"trainer.devices={devices}", *SETTINGS.get(name or "", [])]
    if devices == 1:
        run(compose(settings), tmp_path / "run")
    else:
        from jepa_scale.runs.distributed.launch import run_ranks

        assert run_ranks(compose(settings), tmp_path / "run") == 0
    record = RunFolder(tmp_path / "run").read_record()
    assert record is not None
    assert record.status == "finished"
    assert all(tensor.dtype != torch.bfloat16 for tensor in read_checkpoint(tmp_path / "run").state.values())


def test_the_objective_is_computed_in_32_bits_within_mixed_training():
    parts = build(compose(["logger=none", "data.n=400", "data.heldout=640", "data.test=640", "data.batch_size=32"]))
    module, seen = parts.module, []
    objective = module.objective.forward
    module.objective.forward = lambda view: seen.append((view.latents.dtype, view.predicted.dtype)) or objective(view)
    batch = next(iter(parts.data.train_dataloader()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = module.observe(batch)
        assert latents.dtype == torch.bfloat16
        assert module.pretraining_loss(batch, latents).dtype == torch.float32
    assert seen == [(torch.float32, torch.float32)]
