"""Kernels from a file: read as they are, refused with a reason, never unpickled."""

import hashlib
import re

import numpy as np
import pytest

from jepa_scale.theory.spectrum import singular_values
from jepa_scale.worlds.tabular import Tabular
from jepa_scale.worlds.torus import Torus


def write(folder, **arrays):
    path = folder / "kernel.npz"
    np.savez(path, **arrays)
    return str(path)


def triplets(kernel):
    action, state, following = np.nonzero(kernel)
    return {
        "P_action": action,
        "P_state": state,
        "P_next_state": following,
        "P_probability": kernel[action, state, following],
    }


def ring(size=4, slip=0.25):
    step = np.roll(np.eye(size), 1, axis=1)
    return np.stack([(1 - slip) * np.eye(size) + slip * step, (1 - slip) * step + slip * np.eye(size)])


def test_a_dense_kernel_is_that_world(tmp_path):
    torus = Torus(side=3, slip=0.3)
    world = Tabular(write(tmp_path, P=torus.kernel()), null_action_index=0)
    np.testing.assert_array_equal(world.kernel(), torus.kernel())
    np.testing.assert_allclose(singular_values(world.finite), singular_values(torus.finite), atol=1e-12)
    assert world.null_action == 0
    np.testing.assert_array_equal(world.observations, np.eye(9))


def test_triplets_are_the_same_kernel_and_repeats_add(tmp_path):
    listed = triplets(Torus(side=3, slip=0.3).kernel())
    halved = {
        name: np.concatenate([array, array]) / (2 if name == "P_probability" else 1) for name, array in listed.items()
    }
    halved = {name: array if name == "P_probability" else array.astype(int) for name, array in halved.items()}
    for arrays in (listed, halved):
        np.testing.assert_allclose(Tabular(write(tmp_path, **arrays)).kernel(), Torus(side=3, slip=0.3).kernel())


def test_a_ring_has_its_fourier_moduli(tmp_path):
    """|1 − s + s e^{iθ}| for both actions, θ = 2πj/N."""
    values = singular_values(Tabular(write(tmp_path, P=ring(7))).finite)
    moduli = np.sort(np.abs(0.75 + 0.25 * np.exp(2j * np.pi * np.arange(7) / 7)))[::-1]
    np.testing.assert_allclose(values, [moduli, moduli], atol=1e-12)


def test_what_is_left_for_good_is_left_out_with_its_rows(tmp_path):
    kernel = np.zeros((2, 6, 6))
    kernel[:, 2:, 2:] = ring(4)
    kernel[:, 0, 1] = kernel[:, 1, 4] = 1.0  # 0 → 1 → 4, never back
    vectors, groups = np.arange(12.0).reshape(6, 2), np.array([9, 9, 5, 5, 7, 7])
    world = Tabular(write(tmp_path, P=kernel, observations=vectors, goal_groups=groups))
    np.testing.assert_array_equal(world.kernel(), ring(4))
    np.testing.assert_array_equal(world.table.kept, [2, 3, 4, 5])
    np.testing.assert_array_equal(world.observations, vectors[2:])
    np.testing.assert_array_equal(world.finite.goal_groups, groups[2:])


def test_a_law_chooses_between_classes(tmp_path):
    kernel = np.zeros((2, 8, 8))
    kernel[:, :4, :4] = kernel[:, 4:, 4:] = ring(4)
    with pytest.raises(ValueError, match=r"one of 2 classes, of 4, 4 observations"):
        Tabular(write(tmp_path, P=kernel))
    both = np.repeat([0.2, 0.05], 4)
    np.testing.assert_allclose(Tabular(write(tmp_path, P=kernel, p=both)).finite.context_law, both)
    one = Tabular(write(tmp_path, P=kernel, p=np.repeat([0.0, 0.25], 4)))
    np.testing.assert_array_equal(one.table.kept, [4, 5, 6, 7])
    np.testing.assert_array_equal(one.kernel(), ring(4))


def negative():
    kernel = ring()
    kernel[1, 2, 3] -= 1.0
    kernel[1, 2, 0] += 1.0
    return kernel


def spoiled(place, value):
    kernel = ring()
    kernel[place] = value
    return kernel


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"P": negative()}, r"expected probabilities, finite and not negative; P\[1, 2, 3\] is -0\.25"),
        ({"P": spoiled((0, 1, 2), np.nan)}, r"P\[0, 1, 2\] is nan"),
        ({"P": 2 * ring()}, r"row \[0, 0\] of P sums to 2: divide each row by its sum"),
        ({"P": np.eye(3)}, r"expected P \(A, N, N\).*got \(3, 3\)"),
        ({"P": np.zeros((2, 4, 3))}, r"got \(2, 4, 3\)"),
        ({"P": np.zeros((0, 4, 4))}, r"got \(0, 4, 4\)"),
        ({"P": ring().astype(complex)}, r"expected real numbers in P, got complex128"),
        ({"P": ring().astype(object)}, r"P holds pickled objects, which are not read"),
        ({"Q": ring()}, r"expected P \(A, N, N\) or P_action.*, got Q: rename"),
        ({}, r"got nothing: rename"),
        ({"P_action": [0], "P_state": [0]}, r"missing are P_next_state, P_probability"),
        (triplets(ring()) | {"P_state": [0]}, r"expected one entry per transition.*P_state \(1,\)"),
        (triplets(ring()) | {"P_action": np.full(16, -1)}, r"whole numbers ≥ 0 in P_action, got int64, least -1"),
        (triplets(ring()) | {"P_state": np.zeros(16)}, r"whole numbers ≥ 0 in P_state, got float64"),
        (triplets(ring()) | {"P_next_state": np.full(16, 99_999)}, r"choose a shorter horizon or a smaller world"),
        ({"P": ring(), "p": np.full(3, 1 / 3)}, r"expected p \(N,\) = \(4,\), got \(3,\)"),
        (
            {"P": ring(), "p": np.array([0.4, 0.2, 0.2, 0.2])},
            r"stationary under the uniform policy.*p\[\d\].*leave p out",
        ),
        ({"P": ring(), "p": np.array([0.5, 0.5, 0.5, -0.5])}, r"p\[3\] is -0\.5"),
        ({"P": ring(), "observations": np.ones(4)}, r"observations \(N, D\) with N = 4, got \(4,\)"),
        ({"P": ring(), "observations": np.full((4, 2), np.inf)}, r"expected finite observations, got inf"),
        ({"P": ring(), "goal_groups": np.ones(4)}, r"goal_groups \(4,\) of whole numbers, got \(4,\) of float64"),
    ],
)
def test_bad_files_are_refused(arrays, message, tmp_path):
    path = write(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        Tabular(path)
    assert str(caught.value).startswith(path)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path=null: give world\.path=FILE\.npz"):
        Tabular()
    with pytest.raises(ValueError, match="no file"):
        Tabular(str(tmp_path / "absent.npz"))
    text = tmp_path / "text.npz"
    text.write_text("not an archive")
    with pytest.raises(ValueError, match=r"text\.npz: expected an \.npz file, .* got neither arrays nor"):
        Tabular(str(text))
    np.save(tmp_path / "one.npy", ring())
    with pytest.raises(ValueError, match=r"got one array: use numpy\.savez"):
        Tabular(str(tmp_path / "one.npy"))
    whole = write(tmp_path, P=ring(40))
    damaged = bytearray((tmp_path / "kernel.npz").read_bytes())
    damaged[5000] ^= 255
    (tmp_path / "kernel.npz").write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"kernel\.npz: expected the array P, got .*copy it again"):
        Tabular(whole)


def test_a_changed_file_is_noticed_where_its_checksum_is_given(tmp_path):
    path = write(tmp_path, P=ring())
    digest = hashlib.sha256((tmp_path / "kernel.npz").read_bytes()).hexdigest()
    assert Tabular(path, digest).finite.states == Tabular(path, digest[:12].upper()).finite.states == 4
    write(tmp_path, P=ring(5))
    with pytest.raises(ValueError, match=re.escape(f"checksum='{digest}'")):
        Tabular(path, digest)


def test_the_null_action_is_an_action(tmp_path):
    with pytest.raises(ValueError, match=r"expected an action 0 … 1 or null, got null_action_index=2"):
        Tabular(write(tmp_path, P=ring()), null_action_index=2)
