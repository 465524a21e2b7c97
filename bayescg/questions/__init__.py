"""What a run or a notebook asks of a fit and its frames: one file, one question."""
