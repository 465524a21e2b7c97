"""Simulate, learn, choose what to simulate next, again."""

from bayescg.experiments.acquisition.acquire import Acquisition
from bayescg.experiments.acquisition.active_loop import ActiveRun, Round, active
from bayescg.experiments.acquisition.informative import most_informative
from bayescg.experiments.acquisition.next_labels import Labels
from bayescg.experiments.acquisition.next_seeds import Seeding
from bayescg.experiments.acquisition.next_shots import Shots
from bayescg.experiments.acquisition.next_windows import Windows

__all__ = ["Acquisition", "ActiveRun", "Labels", "Round", "Seeding", "Shots", "Windows", "active", "most_informative"]
