"""``python -m convertd``."""

from convertd.cli import main

if __name__ == "__main__":
    main()
