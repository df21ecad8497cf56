"""Every objective of conf/objective keeps its promises, with discrete and with continuous actions."""

import copy
import multiprocessing
import traceback
from functools import lru_cache

import pytest
import torch
import torch.distributed as dist
import yaml
from torch import nn

from jepa_scale.records import ActionSpace, Batch, View
from jepa_scale.runs.build import build, instantiate
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.runs.errors import UserError
from jepa_scale.testing import check_objective

NAMES = sorted(leaf.stem for leaf in (conf_dir() / "objective").glob("*.yaml"))
WORLDS = {
    "discrete": ["data.horizon=2"],
    "continuous": ["world=point_mass", "planner=cem", "predictor=gru", "data.horizon=3", "world.noise_std=0.5"],
}
TINY = [
    "logger=none", "data.n=400", "data.heldout=640", "data.test=640", "data.batch_size=32", "model.k=4",
    "model.hidden=16", "trainer.steps_per_epoch=4",
]  # fmt: skip
CASES = [(name, kind) for name in NAMES for kind in WORLDS]


@lru_cache(maxsize=len(CASES))
def built(name, kind):
    return build(compose([*TINY, *WORLDS[kind], f"objective={name}"]))


def module_of(name, kind):
    """A module of one's own, as it is before the first step."""
    return copy.deepcopy(built(name, kind).module)


@lru_cache(maxsize=len(CASES))
def batches_of(name, kind):
    """Global batches, whichever process asks; in a group each would be dealt its share of them."""
    return list(built(name, kind).data.train_dataloader())


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


def as_double(batch):
    actions = batch.actions if batch.actions.dtype == torch.int64 else batch.actions.double()
    return Batch(batch.observations.double(), actions)


def gradients_of(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad}


def step(module, batch):
    """Loss of a batch and its gradients."""
    module.zero_grad()
    loss = module.training_step(batch, 0)
    loss.backward()
    return loss.detach(), gradients_of(module)


def test_the_loss_is_a_finite_scalar(case):
    module = module_of(*case)
    loss = module.training_step(batches_of(*case)[0], 0)
    assert loss.shape == ()
    assert bool(loss.isfinite())
    assert not module.objective.bounded_below or float(loss.detach()) >= 0


def test_the_contract_of_an_objective(case):
    module, batch = module_of(*case), batches_of(*case)[0]
    space = built(*case).context.world.action_space
    check_objective(module.objective, 4, tuple(batch.observations.shape[2:]), space, batch.actions.shape[1])


def test_every_trainable_parameter_learns(case):
    """Encoder, predictor and the objective's own networks; a moving average of the encoder is not trainable."""
    module = module_of(*case)
    _, gradients = step(module, batches_of(*case)[0])
    still = [name for name, gradient in gradients.items() if not gradient.abs().sum() > 0]
    assert still == []
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    assert all(name.startswith("objective.target.") for name in frozen)
    assert bool(frozen) == (case[0] == "ema")


def test_the_gradient_equals_finite_differences(case):
    module, batch = module_of(*case).double(), as_double(batches_of(*case)[0])
    # In training mode directions are drawn anew with every evaluation.
    objective = module.objective.eval()
    rows = slice(0, 6)
    latents = torch.randn(6, batch.actions.shape[1] + 1, 4, generator=torch.Generator().manual_seed(0)).double()
    predicted = torch.randn(6, batch.actions.shape[1], 4, generator=torch.Generator().manual_seed(1)).double()

    def loss(latents, predicted):
        return objective(View(batch.observations[rows], batch.actions[rows], latents, predicted))

    if case[0] in ("latent", "ema"):
        # Stopped gradients are not differences of the loss: only what the predictor's output does to it is.
        assert torch.autograd.gradcheck(lambda moved: loss(latents, moved), (predicted.requires_grad_(),))
        stopped = latents.clone().requires_grad_()
        loss(stopped, predicted.detach()).backward()
        spread = latents.clone().requires_grad_()
        loss(spread, predicted.detach() * 0).backward()
        torch.testing.assert_close(stopped.grad, spread.grad)
    else:
        assert torch.autograd.gradcheck(loss, (latents.requires_grad_(), predicted.requires_grad_()))


def test_the_order_of_rows_does_not_matter(case):
    batch = as_double(batches_of(*case)[0])
    order = torch.randperm(len(batch.actions), generator=torch.Generator().manual_seed(2))
    loss, gradients = step(module_of(*case).double(), batch)
    again, shuffled = step(module_of(*case).double(), Batch(batch.observations[order], batch.actions[order]))
    torch.testing.assert_close(again, loss, rtol=1e-12, atol=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(shuffled[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_what_is_saved_goes_on(case):
    """A resumed objective computes what it would have computed: SIGReg's directions, the moving average."""
    first, second, third = batches_of(*case)[:3]
    module = module_of(*case)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.01)
    for batch in (first, second):
        step(module, batch)
        optimizer.step()
        module.on_train_batch_end(None, batch, 0)
    resumed = module_of(*case)
    resumed.load_state_dict(module.state_dict())
    assert float(module.training_step(third, 0).detach()) == float(resumed.training_step(third, 0).detach())
    assert float(module_of(*case).training_step(third, 0).detach()) != float(module.last_loss)


def test_goals_lie_where_roll_outs_are_read(case):
    module, batch = module_of(*case), batches_of(*case)[0]
    latents = module.encode(batch.observations[:, 0])
    reached = module.roll_out(latents[:, None].expand(-1, 5, -1), batch.actions[:, None].expand(-1, 5, *[-1] * (
        batch.actions.ndim - 1)))  # fmt: skip
    read, goal = module.objective.readout(reached), module.objective.goal(batch.observations[:, 0], latents)
    assert read.shape == (32, 5, batch.actions.shape[1], goal.shape[-1])
    if module.objective.encodes_again:
        assert module.objective.decoded(latents).shape == batch.observations[:, 0].shape
    else:
        with pytest.raises(NotImplementedError, match="has no decoder"):
            module.objective.decoded(latents)


@pytest.mark.parametrize("name", NAMES)
def test_a_collapsed_encoder_is_worse_than_a_spread_one(name):
    """Under the best predictor of each: the next latent itself; of the next observation, decoded, nothing but its mean.

    Latents are the observations, white in four coordinates, or all equal.
    """
    white = torch.randn(512, 2, 4, generator=torch.Generator().manual_seed(3))
    losses = {}
    for kind in ("spread", "collapsed"):
        encoder = nn.Linear(4, 4)
        with torch.no_grad():
            encoder.weight.copy_(torch.eye(4) if kind == "spread" else torch.zeros(4, 4))
            encoder.bias.copy_(torch.zeros(4) if kind == "spread" else torch.eye(4)[0])
        objective = instantiate(
            "objective", yaml.safe_load((conf_dir() / "objective" / f"{name}.yaml").read_text()), encoder=encoder,
            action_counts=torch.tensor([5000]), action_space=ActionSpace(1), k=4, head=_identity,
            observation_shape=(4,), noise_mask=None,
        )  # fmt: skip
        latents = encoder(white)
        told = white[:, 1:].mean((0, 1)).expand_as(white[:, 1:])
        predicted = told if objective.encodes_again and kind == "collapsed" else latents[:, 1:]
        view = View(white, torch.zeros(512, 1, dtype=torch.int64), latents, predicted)
        losses[kind] = float(objective(view).detach())
    assert losses["spread"] < losses["collapsed"] - 0.1


def _identity(inputs, outputs):
    return nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)


def test_same_action_negatives_need_discrete_actions():
    overrides = ["objective=spectral", "objective.negatives=same_action"]
    with pytest.raises(UserError, match="objective: expected negatives=pooled for continuous actions"):
        build(compose([*TINY, *WORLDS["continuous"], *overrides]))


def test_the_window_of_an_encoder_matters():
    """Latents of every step are held apart, not only the first."""
    module, batch = module_of("vicreg", "continuous"), batches_of("vicreg", "continuous")[0]
    latents = torch.randn(32, 4, 4, generator=torch.Generator().manual_seed(4))
    predicted = latents[:, 1:]
    spread = module.objective(View(batch.observations, batch.actions, latents, predicted))
    for collapsed in range(4):
        some = latents.clone()
        some[:, collapsed] = 0
        assert module.objective(View(batch.observations, batch.actions, some, some[:, 1:])) > spread + 1


def _rank(rank, ranks, store, dtype, out):
    """Loss and gradients of every case on this rank's rows, with the mean over processes that DDP takes."""
    try:
        for case in CASES:
            batches_of(*case)
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
        found = {}
        for name, kind in CASES:
            module, batch = module_of(name, kind), batches_of(name, kind)[0]
            if dtype is torch.float64:
                module, batch = module.double(), as_double(batch)
            mine = slice(rank, None, ranks)
            loss, gradients = step(module, Batch(batch.observations[mine], batch.actions[mine]))
            for gradient in gradients.values():
                dist.all_reduce(gradient)
                gradient /= ranks
            found[name, kind] = float(loss), {label: part.tolist() for label, part in gradients.items()}
        # Every rank's loss; gradients are equal on all of them now.
        out.put((rank, found if rank == 0 else {key: (loss, {}) for key, (loss, _) in found.items()}))
        dist.destroy_process_group()
    except BaseException:
        out.put((rank, traceback.format_exc()))
        raise


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_loss_and_gradient(ranks, dtype, tmp_path):
    """The same global batch, split by rank as StepLoader splits it; forked, as every process imports for seconds."""
    expected = {}
    for name, kind in CASES:
        module, batch = module_of(name, kind), batches_of(name, kind)[0]
        # The reference is float64 throughout: what float32 adds is its own rounding.
        expected[name, kind] = step(module.double(), as_double(batch))
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    workers = [
        context.Process(target=_rank, args=(rank, ranks, tmp_path / "store", dtype, out), daemon=True)
        for rank in range(ranks)
    ]
    for worker in workers:
        worker.start()
    found = dict(out.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
    # Sums of 32 rows and of some hundred products a row, in another order.
    tolerance = 1e-6 if dtype is torch.float32 else 1e-12
    for rank, cases in found.items():
        assert isinstance(cases, dict), cases
        for key, (loss, gradients) in cases.items():
            exact, exact_gradients = expected[key]
            assert loss == pytest.approx(float(exact), rel=tolerance), (key, rank)
            assert rank or set(gradients) == set(exact_gradients)
            scale = max(float(gradient.abs().max()) for gradient in exact_gradients.values())
            for label, gradient in gradients.items():
                off = (torch.tensor(gradient, dtype=torch.float64) - exact_gradients[label]).abs().max()
                assert float(off) <= tolerance * max(scale, 1.0), (key, label)
