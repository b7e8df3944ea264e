"""The generator of synthetic words: vocabulary, fonts, drawing, and what a camera does to them."""
