"""Where a policy looks and which words it hears: the command `qwenvla-attention`."""
