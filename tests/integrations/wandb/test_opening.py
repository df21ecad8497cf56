"""What a dashboard of a study's W&B run imports."""

import subprocess
import sys


def test_a_dashboard_does_not_wait_for_lightning():
    modules = ("integrations.wandb.opening", "integrations.wandb.study_run", "integrations.wandb.dashboard")
    imports = ", ".join(f"jepa_scale.{module}" for module in modules)
    code = f"import sys, {imports}; print({{'lightning', 'torch'}} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
