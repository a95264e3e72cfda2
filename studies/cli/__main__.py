"""``python -m studies.cli``."""

from . import main

main()
