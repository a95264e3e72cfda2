"""From channels to receptions: the resource grid, noise, estimation, detection."""
