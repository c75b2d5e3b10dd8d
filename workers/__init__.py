"""What Bakeoff does on a machine: one attempt at a job, supervised from claim to outcome."""
