"""What is there, what is missing and what mends it: the package, this machine, a study's needs."""
