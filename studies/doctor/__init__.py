"""What is there, what is missing and how to fix it: the package, this machine, a study's needs."""
