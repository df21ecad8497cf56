"""Real offline W&B runs, for tests."""

import contextlib
import time
from pathlib import Path

import wandb

from jepa_scale.integrations.wandb.files import read_offline
from jepa_scale.runs.errors import UserError

QUIET = {
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "console": "off",
    "silent": True,
}


def offline_run(folder, run_id, rows=(), *, config=None, summary=None, kept=None, exit_code=0, **about):
    """Log one run as a user's script would; ``kept`` says what the summary keeps of a metric."""
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project="sweep", dir=folder, id=run_id, config=config, mode="offline", reinit="finish_previous",
        settings=wandb.Settings(**QUIET), **about,
    )  # fmt: skip
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    for name, kinds in (kept or {}).items():
        run.define_metric(name, summary=kinds)
    for row in rows:
        run.log(dict(row))
    for name, value in (summary or {}).items():
        run.summary[name] = value
    place = Path(run.dir).parent
    run.finish(exit_code=exit_code)
    closed(place)


def closed(place, seconds=20):
    """An offline run, once W&B's service, which is told of the end and writes on its own, has written all of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(UserError):
            found = read_offline(place)
            if found.state != "crashed":
                return found
        time.sleep(0.05)
    raise AssertionError(f"{place} was not closed")
