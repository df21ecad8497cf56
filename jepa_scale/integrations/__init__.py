"""Connections to other tools: W&B, and Lightning's loggers."""
