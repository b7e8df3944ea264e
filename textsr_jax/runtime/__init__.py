"""What every part runs on: how work in progress is shown."""
