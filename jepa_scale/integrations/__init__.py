"""What jepa-scale connects to: W&B, and Lightning's loggers."""
