"""The doors by their names."""

from tests.fire import data_doors, fit_doors

__all__ = ["DOORS"]

DOORS = {
    "Frames.from_numpy": data_doors.frames_of_arrays,
    "methods of Frames": data_doors.methods_of_frames,
    "load": data_doors.trajectory_files,
    "features": data_doors.features_of_a_molecule,
    "models": fit_doors.models,
    "experiment files": fit_doors.experiment_files,
    "saved fits": fit_doors.saved_fits,
    "checkpoints": fit_doors.checkpoints,
    "run folders": fit_doors.run_folders,
}
