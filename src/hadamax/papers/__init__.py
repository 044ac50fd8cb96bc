"""Reproduction of the tables and figures of the two papers, one module per group of them."""
