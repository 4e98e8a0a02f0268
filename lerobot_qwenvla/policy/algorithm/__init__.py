"""The algorithm, apart from LeRobot: what the expert looks at, the expert, how it is trained and sampled."""
