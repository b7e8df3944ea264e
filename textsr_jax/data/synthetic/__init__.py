"""The generator of synthetic words: vocabulary, fonts, drawing, and the camera's losses."""
