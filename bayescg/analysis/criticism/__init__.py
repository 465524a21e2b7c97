"""Does a model say what is seen: one table of checks that a reviewer can read."""
