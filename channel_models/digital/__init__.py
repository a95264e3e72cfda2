"""Digital links: packets instead of token symbols."""
