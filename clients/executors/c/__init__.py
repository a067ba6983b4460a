"""The C executor: generated projects, built and run on the host or on an emulated board."""
