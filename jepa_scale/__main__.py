"""``python -m jepa_scale``."""

from jepa_scale.cli import main

if __name__ == "__main__":
    main()
