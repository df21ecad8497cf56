"""Recording of a step as a CUDA graph, which is replayed by one launch in place of one for each kernel."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_WARM_UP = 2
"""Steps that are taken plainly and recorded, to be compared: what is drawn once shows at the second."""
_TOLERANCE = {torch.float64: 1e-9}
_SINGLE = 1e-3
"""Relative difference, by norm, that sums of float32 in another order make at most."""


class StepGraph:
    """A step without arguments, which reads and changes tensors where they lie, as one CUDA graph.

    Before it is trusted, the step is taken twice plainly and twice by the recording, from the same state: what waits
    for the device, counts on the host, cannot be recorded or comes out differently is taken plainly from then on, and
    ``why_plain`` says why. On other devices than CUDA the recording is the step itself.

    Parameters
    ----------
    step
        Takes the step.
    state
        Tensors that it changes, (M, …) each.
    outputs
        Returns the tensors that it makes anew.
    numbers
        Returns all numbers that parts of the model keep on the host, by place.
    """

    def __init__(
        self,
        step: Callable[[], None],
        state: Sequence[Tensor],
        outputs: Callable[[], Sequence[Tensor]],
        numbers: Callable[[], Mapping[tuple[str, str], Any]],
    ) -> None:
        self._step, self._state, self._outputs, self._numbers = step, list(state), outputs, numbers
        self._device = self._state[0].device
        self._replay = step
        self.ready = False
        """Whether it was tried: else each step is taken plainly."""
        self.why_plain = ""

    def take(self) -> None:
        """Take a step."""
        self._replay()

    def prepare(self, feed: Callable[[int], None]) -> None:
        """Record the step and compare; ``feed`` puts the inputs of step 0 or 1 in place. The state is left as it is.

        Numbers on the host are not put back: whoever keeps them does that.
        """
        self.ready, kept = True, [tensor.clone() for tensor in self._state]
        try:
            self.why_plain = self._record(feed, kept)
        finally:
            self._put(kept)
            if self.why_plain:
                self._replay = self._step

    def _record(self, feed: Callable[[int], None], kept: Sequence[Tensor]) -> str:
        before = dict(self._numbers())
        try:
            with _side_stream(self._device):
                plain = self._two(feed, self._step)
        except _Waits as problem:
            return f"a step waits for the device ({problem})"
        after = self._numbers()
        counted = [".".join(place) for place, value in before.items() if place in after and after[place] != value]
        if counted:
            return f"{counted[0]} changes on the host at every step"
        self._put(kept)
        try:
            self._replay = record(self._step, self._device)
            replayed = self._two(feed, self._replay)
        except torch.OutOfMemoryError:
            raise
        except Exception as problem:
            return f"it cannot be recorded ({type(problem).__name__}: {(str(problem).splitlines() or [''])[0]})"
        same = all(_alike(one, other) for one, other in zip(replayed, plain, strict=True))
        return "" if same else "recorded, it comes out differently"

    def _two(self, feed: Callable[[int], None], take: Callable[[], None]) -> list[Tensor]:
        for number in range(_WARM_UP):
            feed(number)
            # At the first one libraries set themselves up.
            with _no_waiting(self._device) if number and take is self._step else contextlib.nullcontext():
                take()
        return [tensor.clone() for tensor in (*self._state, *self._outputs())]

    def _put(self, kept: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._state, kept, strict=True):
            tensor.copy_(value)


class _Waits(Exception):
    """A step made the host wait for the device."""


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what takes the same step again: on CUDA the replay of its kernels, elsewhere the step itself."""
    if device.type != "cuda":
        return step
    graph, stream, collects = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device), gc.isenabled()
    # Now, and not meanwhile: to destroy another graph would end the recording.
    gc.collect()
    gc.disable()
    try:
        # Threads of loggers may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    finally:
        # After a recording that has failed torch stays on the stream that it recorded.
        torch.cuda.set_stream(stream)
        if collects:
            gc.enable()
    return graph.replay


@contextlib.contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Another stream than that of all other work, as recording asks for of the steps before it."""
    if device.type != "cuda":
        yield
        return
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    try:
        with torch.cuda.stream(side):
            yield
    finally:
        torch.cuda.current_stream(device).wait_stream(side)


@contextlib.contextmanager
def _no_waiting(device: torch.device) -> Iterator[None]:
    """Let what waits for a CUDA device fail.

    Raises
    ------
    _Waits
        If something did.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    except RuntimeError as problem:
        if "synchronizing" not in str(problem):
            raise
        raise _Waits(str(problem).splitlines()[0]) from problem
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether each run's part of two (M, …) tensors is the same but for rounding, or lost in both."""
    rows = [value.detach().reshape(len(value), -1).double() for value in (one, other)]
    difference, size = (rows[0] - rows[1]).norm(dim=1), rows[1].norm(dim=1)
    lost = ~(rows[0].isfinite().all(1) | rows[1].isfinite().all(1))
    tolerance = _TOLERANCE.get(one.dtype, _SINGLE)
    return bool(((difference <= tolerance * (size + 1e-6)) | lost).all())
