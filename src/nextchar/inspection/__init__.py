"""Looking inside: what every unit and gate does at every character, and the text coloured by it."""
