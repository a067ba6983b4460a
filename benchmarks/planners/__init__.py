"""memplan side by side with published planners, on common graphs and one common simulator."""
