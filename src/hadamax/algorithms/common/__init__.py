"""Code that the algorithms share and their papers leave out."""
