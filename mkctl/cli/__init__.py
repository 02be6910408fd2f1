"""The verbs of `mkctl` for people: they read files or make one bus call, and answer at once."""
