"""How much memory training and deciding take: computed without weights, or measured with them."""
