"""Entry point of a cluster's worker, as in ``worker.sbatch``: ``python -m …slurm.supervise STUDY RESOURCES``."""

from __future__ import annotations

import sys
from pathlib import Path

from jepa_scale import signals


def main(arguments: list[str]) -> int:
    """Work on a study as one task of a job array; return the exit code."""
    # Before anything else is imported: a signal without a handler ends the process.
    signals.install()
    from jepa_scale.integrations.slurm.commands import own_name
    from jepa_scale.integrations.slurm.supervisor import Supervisor
    from jepa_scale.runs.errors import UserError

    try:
        task = own_name()
        if task is None:
            raise UserError("this worker is started by SLURM: submit it with `jepa-scale sweep SWEEP launcher=slurm`")
        return Supervisor(Path(arguments[0]), arguments[1], task).work()
    except (UserError, OSError) as error:
        print(f"jepa-scale: error: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
