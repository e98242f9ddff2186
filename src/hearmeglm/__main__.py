"""`python -m hearmeglm` is `hearme`."""

from .cli import main

if __name__ == "__main__":
    main()
