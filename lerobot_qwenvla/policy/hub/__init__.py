"""How a policy presents itself on the Hub."""
