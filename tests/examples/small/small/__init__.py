"""A pipeline of three quick stages, as somebody outside of the program would write it."""
