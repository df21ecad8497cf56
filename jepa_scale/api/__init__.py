"""What ``import jepa_scale`` offers, each name imported when it is asked for."""
