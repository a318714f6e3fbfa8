"""How fast this machine trains, writes and scores: against its own ceilings, and against what one would write otherwise."""
