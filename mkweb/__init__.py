"""mkweb, the configuration web server of the microkernel: takes a pushed configuration and has systemd restart mkctl
with it.

Source: protocol 4 (its PORT paragraph).
"""
