"""MiniMUSIC's pocket checkpoints: ViViT, AST and a language model."""
