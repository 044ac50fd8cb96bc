"""Tables and figures of the two papers, each a module of its own."""
