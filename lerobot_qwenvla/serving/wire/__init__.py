"""What travels between a client and the server: read without running it, checked, refused in words."""
