"""Adaptive designs of scaling studies, in the form of a package of OptunaHub."""

from jepa_scale import ScalingDesignSampler

__all__ = ["ScalingDesignSampler"]
