"""The embedded provisioning server: the other side of the wire, for a lab, for tests and for a first look at the suite.

It speaks both historic dialects to nodes (protocol 3.7 to 3.9, 9.1, 9.2), boots them over iPXE (protocol 1.1), keeps
what they registered in a database, and shows it to people on a page, by a JSON API and on the command line.
It is fenced off from the microkernel: nothing of it is in the image, and it listens on loopback unless it has a
password.
"""
