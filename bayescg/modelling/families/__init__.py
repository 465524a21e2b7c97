"""Base classes of families of models: what several models of a kind read, or what would hide the program of one."""
