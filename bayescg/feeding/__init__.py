"""Frames on their way to the device: resident, or read ahead from disk and shuffled."""
