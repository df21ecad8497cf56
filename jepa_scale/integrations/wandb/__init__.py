"""W&B: mirroring runs, dashboards, uploading offline runs, and tables from W&B runs."""
