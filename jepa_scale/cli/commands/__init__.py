"""The commands, one module each: ``add_parser`` adds its parser, ``run`` returns the exit code."""
