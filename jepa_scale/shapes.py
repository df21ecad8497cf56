"""Names of array axes, defined once and used in every shape annotation.

==========  =============================================================
name        meaning
==========  =============================================================
``A``       actions
``N``       observations of a finite world (the paper's set X)
``k``       latent width (the study's dial)
``D``       coordinates of an observation vector
``B``       rows of a minibatch
``E``       trajectories (episodes)
``T``       transitions of a trajectory, or steps of a plan
``plans``   action sequences of length T, ``|A|**T`` of them
``G``       groups of trajectories in the delete-a-group jackknife
==========  =============================================================
"""

from __future__ import annotations

from jaxtyping import Float, Float32, Float64, Int, Int64

__all__ = ["Float", "Float32", "Float64", "Int", "Int64"]
