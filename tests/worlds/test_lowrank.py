import numpy as np
import pytest

from jepa_scale.theory.graph import next_law
from jepa_scale.theory.spectrum import singular_values, spectral_tail, stacked_singular_values
from jepa_scale.worlds.lowrank import LowRank


def test_the_rank_is_the_rank():
    world = LowRank(states=30, rank=5).finite
    assert (spectral_tail(singular_values(world), 5) < 1e-20).all()
    assert (spectral_tail(singular_values(world), 4) > 1e-6).all()


def test_one_encoder_serves_all_actions():
    world = LowRank(states=30, rank=5).finite
    assert spectral_tail(stacked_singular_values(world, "pooled"), 5) < 1e-20


def test_the_next_law_depends_on_the_action():
    law = next_law(LowRank().finite)
    assert np.abs(law[0] - law[1]).max() > 1e-3


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="rank=9"):
        LowRank(states=8, rank=9)
    with pytest.raises(ValueError, match=r"concentration=0\.0"):
        LowRank(concentration=0.0)
