"""One file a format; each lists a data set's pairs, and `engines.data.datasets` has the table of them."""
