"""How low-resolution images come about: one kind of damage per file.

All take and give HxWxC images, uint8 or float32 in the same range (0 to 255 or 0 to 1), and draw
nothing themselves: what is random is an argument, so that a step of training can be repeated.
"""
