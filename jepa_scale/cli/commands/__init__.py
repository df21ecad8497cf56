"""The commands, one module each: ``add_parser`` adds its parser, ``run`` returns the exit code.

``GROUP`` names the group of ``--help`` that a command is listed in; without it, a command is listed last.
"""

GROUPS = {
    "run": "Run studies and models",
    "answer": "Get answers from runs",
    "inspect": "Inspect a model or data of your own",
    "cluster": "Run on a cluster, and collect",
    "wandb": "Use W&B",
    "learn": "Look up and check",
    "": "More",
}
"""Headings of ``--help`` by the groups that commands name, in their order."""
