"""What is recorded of a step neither waits for the device nor mixes devices, as torch's ``meta`` shows without a GPU.

It knows shapes and no values: what reads one fails there, and what a step brings from the host is noticed.
"""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.training.test_cohort import CASES, MEMBERS, trainees
from tests.training.test_cohort_static import Counting, static

META = torch.device("meta")


class Strict(TorchDispatchMode):
    """Fails where an operator takes or makes a tensor that is not on the device, or copies one to it.

    Single numbers are free: a kernel takes them as arguments.
    """

    COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        taken = self.elsewhere(func, (args, kwargs))
        made = func(*args, **(kwargs or {}))
        if taken and func in self.COPIES and made.device == META:
            raise AssertionError(f"{func} sends a number to the device")
        self.elsewhere(func, made)
        return made

    @staticmethod
    def elsewhere(func, values):
        found = [value for value in tree_leaves(values) if isinstance(value, torch.Tensor) and value.device != META]
        if any(value.ndim for value in found):
            raise AssertionError(f"{func} mixes devices")
        return found


class NothingSent(TorchFunctionMode):
    """Fails where numbers of the host become a tensor, which the host must wait for on a device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy):
            raise AssertionError(f"{func.__name__} sends numbers to the device")
        return func(*args, **(kwargs or {}))


def moved(value, known):
    """The same with every tensor on the device without values; modules keep what is no parameter or buffer."""
    if isinstance(value, torch.Tensor):
        return known.setdefault(id(value), value.detach().to(META).requires_grad_(value.requires_grad))
    if isinstance(value, dict):
        return {name: moved(item, known) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved(item, known) for item in value)
    return value


def on_meta(stack):
    """Move all that a step reads, as it lies on a GPU."""
    steps, known = stack._static, {}
    for part in (steps.adam, steps.rows, steps.rows._actions, steps.rows._observations, stack.batches, steps, stack):
        if part is not None:
            part.__dict__.update(moved(part.__dict__, known))
    stack._device = stack.batches.like = META
    stack.batches.like = torch.empty(0, device=META, dtype=steps.adam.weights.dtype)
    return steps


def strictly(stack):
    stack.advance(0, 2)
    steps = on_meta(stack)
    with pytest.MonkeyPatch.context() as patch, NothingSent(), Strict():
        # Torch does not know it for that device.
        patch.setattr(torch, "is_autocast_enabled", lambda kind: False)
        steps.step()
    assert {tensor.device for tensor in (stack.losses, stack.latents, steps.sums)} == {META}


@pytest.mark.parametrize("case", CASES)
def test_what_claims_to_be_recorded_neither_waits_nor_mixes_devices(case):
    stack = static(trainees(CASES[case], MEMBERS[:2]))
    strictly(stack)
    assert stack.why_plain == ""


class Sending(torch.nn.Linear):
    """An encoder that brings numbers of the host."""

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)

    def forward(self, observations):
        latents = super().forward(observations)
        return latents * torch.tensor([2.0], dtype=latents.dtype, device=latents.device)


class Keeping(Sending):
    """An encoder with a tensor that is no buffer, and so stays on the host."""

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape, k, hidden)
        self.scale = torch.full((k,), 2.0)

    def forward(self, observations):
        return torch.nn.Linear.forward(self, observations) * self.scale


def test_directions_of_the_host_mix_devices(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", Counting.__module__)
    stack = static(trainees(["objective=sigreg", f"objective._target_={Counting.__module__}.Counting"], MEMBERS[:2]))
    with pytest.raises(AssertionError, match="mixes devices"):
        strictly(stack)


@pytest.mark.parametrize(("encoder", "reason"), [(Sending, "sends numbers"), (Keeping, "mixes devices")])
def test_the_device_without_values_finds_what_it_is_to_find(encoder, reason, monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    stack = static(trainees([f"encoder._target_={__name__}.{encoder.__name__}"], MEMBERS[:2]))
    with pytest.raises(AssertionError, match=reason):
        strictly(stack)


def test_a_value_cannot_be_read_without_one():
    with pytest.raises(RuntimeError, match="meta"):
        torch.zeros(3, device=META).sum().item()
