"""Where a study keeps its things."""
