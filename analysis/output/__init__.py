"""How results leave: files, CSV, tables, the frame and the styles of figures."""
