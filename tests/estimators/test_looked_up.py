"""Sums of rows that are looked up in tables are those of the rows themselves."""

import numpy as np
import pytest
import torch

from jepa_scale.estimators.looked_up import LookedUpMoments
from jepa_scale.estimators.moments import MomentAccumulator, NotFiniteError

GROUPS = 4


@pytest.mark.parametrize("widths", [(5, 5), (6, 3)])
def test_looked_up_rows_give_the_sums_of_the_rows(widths):
    """In two parts, of embeddings that are far from zero: means of 30, deviations of 1."""
    generator = torch.Generator().manual_seed(0)
    h, f = (30 + torch.randn(40, width, generator=generator, dtype=torch.float64) for width in widths)
    left, right, places = (torch.randint(0, high, (900,), generator=generator) for high in (40, 40, 3 * GROUPS))
    places = places.sort().values
    ours, theirs = LookedUpMoments(*widths, 3, GROUPS), MomentAccumulator(*widths, 3, GROUPS)
    for part in (slice(500), slice(500, None)):
        ours.look_up((h, f), left[part], right[part], places[part])
        theirs.update(h[left[part]], f[right[part]], places[part] // GROUPS, places[part] % GROUPS)
    one, other = ours.compute(), theirs.compute()
    # Rounding of sums of 75 rows.
    for name in ("zz", "yy", "zy", "weight_square", "rows", "shift_h", "shift_f"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(one.matched_square, other.matched_square, rtol=1e-12)


def test_a_table_that_is_not_finite_is_refused_before_anything_is_added():
    sums, rows = LookedUpMoments(2, 2, 1, GROUPS), torch.zeros(3, dtype=torch.int64)
    table = torch.ones(4, 2, dtype=torch.float64)
    with pytest.raises(NotFiniteError, match="diverged"):
        sums.look_up((table, table.index_fill(0, torch.tensor([3]), torch.nan)), rows, rows, rows)
    sums.look_up((table, table), rows[:0], rows[:0], rows[:0])
    assert not sums.compute().rows.any()
