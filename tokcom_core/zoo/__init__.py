"""The pocket zoo: how the small checkpoints are made, and what can be read from their tokens."""
