"""Records episodes of Miniworld, played by hand movements on a virtual mouse and keyboard."""
