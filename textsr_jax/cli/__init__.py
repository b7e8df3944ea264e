"""How scripts start, their flags, and the installed commands."""
