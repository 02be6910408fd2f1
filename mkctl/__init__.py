"""The controller: finds the server, checks in, registers the machine's facts, obeys orders."""
