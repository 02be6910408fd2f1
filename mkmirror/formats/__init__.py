"""The kinds of things that a mirror holds, one module each: what their files look like, without touching any.

Source: protocol 5.2 to 5.5.
"""
