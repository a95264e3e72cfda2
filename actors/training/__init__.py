"""Training: batches, optimisers, checkpoints, federation."""
