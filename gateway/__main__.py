"""`python -m gateway` is `tollway`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
