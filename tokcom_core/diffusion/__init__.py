"""Text to images: a ``diffusers`` pipeline, and a language model that rewrites its prompt first.

TaiChi's Instructional Diffusion Refinement (Section III-D). Importing this package imports neither
``diffusers`` nor ``transformers``.
"""
