"""The folder, store and artifacts of a study."""
