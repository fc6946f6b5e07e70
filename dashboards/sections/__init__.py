"""The parts of a rollout that several pages show: each file holds a section's context and what fills it."""
