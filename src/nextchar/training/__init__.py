"""Learning: budget, schedule, optimizer, the loop as a generator of events, and the run folder that listens."""
