"""From a study file to its cells and the artifacts that they share."""
