"""What hidden Markov models are made of: sums over hidden paths, what a hidden state shows, and where to begin."""
