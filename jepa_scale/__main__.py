"""Entry point of ``python -m jepa_scale``."""

from jepa_scale.cli.app import main

if __name__ == "__main__":
    main()
