"""The airs that a study can name, each a small configuration that builds an air."""
