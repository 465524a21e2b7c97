"""Sampling under a bias along a CV: windows that exchange their replicas."""
