"""Which operations run, by which ways, in which order: schedules, before they have addresses."""
