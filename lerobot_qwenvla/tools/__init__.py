"""Commands that look at a policy: parameters, memory, speed, export."""
