"""Speed of this machine: training, generation, scoring and start-up."""
