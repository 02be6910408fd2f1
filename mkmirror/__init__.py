"""mkmirror, the mirror of the microkernel on its own loopback: extensions on port 2157, packages on port 2158.

Source: protocol 5.1 and 5.5.
"""
