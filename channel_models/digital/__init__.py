"""Digital links: packets in the place of token symbols."""
