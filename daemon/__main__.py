"""`python -m daemon` is `reflexd`."""

from daemon.cli import main

main()
