"""Which of several models the data prefer, by how much, and whether they can tell."""
