"""What predictive CVs alone need."""
