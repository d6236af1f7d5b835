"""`python -m invoker`."""

from invoker.cli import main

main()
