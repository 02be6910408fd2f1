"""Hardware facts of the machine: collected as root by `mk-facts`, handed to mkctl as one file and nothing else."""
