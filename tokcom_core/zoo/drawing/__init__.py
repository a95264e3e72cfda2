"""The pocket checkpoints that draw: a diffusion pipeline, its judge, an adapter that refines."""
