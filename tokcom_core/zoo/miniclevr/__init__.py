"""MiniCLEVR's pocket checkpoints: CLIP, ConvNeXt and a language model."""
