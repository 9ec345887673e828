"""The simulation of the synchroniser (benchmarks/pairing_simulation.py) and what plays in it."""

from builders.paths import load_script

simulation = load_script("benchmarks/pairing_simulation.py")
Action, Arrival = simulation.Action, simulation.Arrival
SimulatedClock, play = simulation.SimulatedClock, simulation.play
MS, SECOND, BEGIN = simulation.MS, simulation.SECOND, simulation.BEGIN
