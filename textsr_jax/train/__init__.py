"""The training room: state, pure steps, the loop of all stages, and the device mesh."""
