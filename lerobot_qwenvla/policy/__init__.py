"""The `qwenvla` policy: the three modules LeRobot looks for (configuration, modeling, processor), and the algorithm."""
